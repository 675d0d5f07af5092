# python3 -m test: Debian's own test suite, every test's verdict compared.
#@ needs=python3 python3.11
#@ timeout=2400
for t in test_os test_posix test_io test_fileio test_subprocess test_threading test_thread test_signal test_socket test_select test_selectors test_epoll test_mmap test_pty test_fcntl test_asyncio test_tempfile test_shutil; do
    timeout 600 python3 -m test -v $t < /dev/null > $t.log 2>&1; echo "$t: $?"
    # One line per test: its name and verdict, without times and addresses.
    grep -aoE '^test_[A-Za-z0-9_]+ \([A-Za-z0-9_.]+\).*\.\.\. (ok|FAIL|ERROR|skipped|expected failure)' $t.log | sed -E 's/ \.\.\. /: /; s/^(test_[^ ]* \([^)]*\)).*: /\1: /' | sort
done
