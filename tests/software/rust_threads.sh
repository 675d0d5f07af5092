# A static Rust program with many threads, channels and sockets (built before, outside).
#@ prepare=rustc --edition 2024 -O -C target-feature=+crt-static -o program "$SOFTWARE/threads.rs"
#@ timeout=120
./program; echo $?
