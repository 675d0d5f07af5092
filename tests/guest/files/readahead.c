/* readahead(2) and posix_fadvise(2) on all kinds of files. */
#include "../check.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

static void both(const char *what, int fd)
{
    printf("%s\n", what);
    SHOW(readahead(fd, 0, 4096));
    SHOW(posix_fadvise(fd, 0, 4096, POSIX_FADV_WILLNEED));
    close(fd);
}

int main(void)
{
    int fds[2];
    sigset_t set;
    sigemptyset(&set);
    FILE *f = MUST(tmpfile()) ;
    both("file", dup(fileno(f)));
    both("directory", MUST(open(".", O_RDONLY | O_DIRECTORY)));
    both("write only", MUST(open("/proc/self/comm", O_WRONLY)));
    both("memfd", MUST(memfd_create("x", 0)));
    MUST(pipe(fds));
    both("pipe", fds[0]);
    both("pipe, other end", fds[1]);
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    both("socket", fds[0]);
    both("eventfd", MUST(eventfd(0, 0)));
    both("epoll", MUST(epoll_create1(0)));
    both("timerfd", MUST(timerfd_create(CLOCK_MONOTONIC, 0)));
    both("signalfd", MUST(signalfd(-1, &set, 0)));
    both("inotify", MUST(inotify_init()));
    both("no file", -1);
    return 0;
}
