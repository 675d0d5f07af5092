/* What a process sets of itself in /proc/self: coredump_filter, which children inherit. */
#include "check.h"

static long put(const char *text)
{
    int fd = MUST(open("/proc/self/coredump_filter", O_RDWR));
    errno = 0;
    long n = write(fd, text, strlen(text));
    int e = errno;
    close(fd);
    errno = e;
    return n;
}

int main(void)
{
    SHOW(put("0x31\n"));
    show_file("/proc/self/coredump_filter");
    SHOW(put("17"));
    SHOW(put("010"));
    show_file("/proc/self/coredump_filter");
    SHOW(put("0xffff"));
    show_file("/proc/self/coredump_filter");
    SHOW(put("x"));
    SHOW(put("-1"));
    SHOW(put("0x11"));
    fflush(stdout);
    pid_t child = MUST(fork());
    if (child == 0) {
        show_file("/proc/self/coredump_filter");
        execlp("cat", "cat", "/proc/self/coredump_filter", NULL);
        _exit(99);
    }
    int status;
    MUST(waitpid(child, &status, 0));
    show_status("child", status);
    return 0;
}
