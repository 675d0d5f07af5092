//@ root=only
//@ options=--user 0
/* poll(2) and epoll on /proc/self/mounts tell of mounts that come and go (proc_pid_mounts(5)). */
#include "check.h"
#include <sys/epoll.h>
#include <sys/mount.h>

static int polled(int fd)
{
    struct pollfd p = {fd, POLLPRI, 0};
    return MUST(poll(&p, 1, 0)) ? p.revents : 0;
}

int main(void)
{
    MUST(unshare(CLONE_NEWNS));
    MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    MUST(mkdir("here", 0755));
    int mounts = MUST(open("/proc/self/mounts", O_RDONLY)), info = MUST(open("/proc/self/mountinfo", O_RDONLY));
    int ep = MUST(epoll_create1(0)), other = MUST(open("/proc/self/maps", O_RDONLY));
    struct epoll_event e = {EPOLLPRI, {0}}, got;
    SHOW(epoll_ctl(ep, EPOLL_CTL_ADD, other, &e));
    SHOW(epoll_ctl(ep, EPOLL_CTL_ADD, info, &e));
    struct pollfd all = {mounts, POLLIN | POLLOUT | POLLPRI, 0};
    SHOW(poll(&all, 1, 0));
    SHOW(all.revents);
    SHOW(polled(mounts));
    SHOW(epoll_wait(ep, &got, 1, 0));
    MUST(mount("none", "here", "tmpfs", 0, NULL));
    SHOW(polled(mounts));
    SHOW(polled(mounts));
    SHOW(epoll_wait(ep, &got, 1, 0));
    SHOW(got.events);
    SHOW(epoll_wait(ep, &got, 1, 0));
    /* A waiter is woken. */
    fflush(stdout);
    pid_t child = MUST(fork());
    if (child == 0) {
        pause_ms(50);
        MUST(umount2("here", MNT_DETACH));
        _exit(0);
    }
    SHOW(epoll_wait(ep, &got, 1, 10000));
    SHOW(got.events);
    SHOW(polled(mounts));
    MUST(waitpid(child, NULL, 0));
    return 0;
}
