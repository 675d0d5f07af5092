# python3 -m test: modules of Debian's own test suite that take seconds; every test that passes natively must pass inside.
# long/python_tests_slow.sh runs the others.
#@ needs=python3.11 /usr/lib/python3.11/test/test_os.py
#@ timeout=300
#@ compare=ok-lines
modules=${MODULES:-test_os test_posix test_fileio test_thread test_select test_epoll test_mmap test_pty test_fcntl test_tempfile test_shutil}
# The machine knows its own name; so must the sandbox (written to its overlay only).
[ "$(hostname)" != cofferdam ] || echo '127.0.0.1 cofferdam' >> /etc/hosts
for t in $modules; do
    # AF_VSOCK hangs natively on virtual machines without a host side.
    timeout 300 python3.11 -m test -v -i '*VSOCK*' "$t" < /dev/null > "$t.log" 2>&1; status=$?
    [ $status = 0 ] && echo "$t ok" || echo "$t status $status"
    # One line per test: its name and verdict, without times and addresses.
    grep -aoE '^test[A-Za-z0-9_]* \([A-Za-z0-9_.]+\).*\.\.\. ok' "$t.log" | sed -E 's/^(test[^ ]* \([^)]*\)).*/\1 ok/' | sort
done
