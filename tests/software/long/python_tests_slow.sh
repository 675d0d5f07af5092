# The modules of Python's test suite that python_tests.sh leaves out because they take minutes.
#@ needs=python3.11 /usr/lib/python3.11/test/test_os.py
#@ prepare=cp "$SOFTWARE/python_tests.sh" .
#@ timeout=1500
#@ compare=ok-lines
MODULES='test_io test_subprocess test_threading test_signal test_socket test_selectors test_asyncio' bash python_tests.sh
