/* Processes by descriptor (SO_PEERPIDFD, SCM_PIDFD), and what becomes of descriptors whose numbers cannot be told. */
//@ root=only
//@ options=--user 0
#include "check.h"
#include <linux/sched.h>
#include <sys/un.h>

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#define SO_PEERPIDFD 77
#endif
#define SCM_PIDFD 4

static int next_fd(void)
{
    int fd = MUST(dup(0));
    close(fd);
    return fd;
}

static int alive(int fd)
{
    return syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) == 0;
}

static pid_t fork_as(pid_t pid)
{
    struct clone_args a = {.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&pid, .set_tid_size = 1};
    return MUST(syscall(SYS_clone3, &a, sizeof a));
}

static int peer(int s)
{
    int fd = -1;
    socklen_t size = sizeof fd;
    return getsockopt(s, SOL_SOCKET, SO_PEERPIDFD, &fd, &size) == 0 ? fd : -1;
}

/* Receives one byte; the first descriptor of control messages of `type`, -1 without. */
static int take(int s, int type, void *control, int room)
{
    char byte;
    struct iovec v = {&byte, 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = room};
    long n = recvmsg(s, &m, MSG_DONTWAIT);
    say(" received %ld %s, control %zu, cut %d", n, n < 0 ? strerrorname_np(errno) : "", m.msg_controllen,
        (m.msg_flags & MSG_CTRUNC) != 0);
    if (n > 0 && m.msg_controllen >= CMSG_LEN(4))
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
            if (c->cmsg_type == type)
                return *(int *)CMSG_DATA(c);
    return -1;
}

static void give(int s, int fd, int count)
{
    char byte = 'x';
    struct iovec v = {&byte, 1};
    char control[CMSG_SPACE(12)] __attribute__((aligned(8))) = {0};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(4 * count)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    *c = (struct cmsghdr){CMSG_LEN(4 * count), SOL_SOCKET, SCM_RIGHTS};
    for (int i = 0; i < count; i++)
        ((int *)CMSG_DATA(c))[i] = fd;
    MUST(sendmsg(s, &m, 0));
}

static void numbers_that_cannot_be_told(void)
{
    int p[2], fd = -1, on = 1, off = 0;
    MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, p));
    char *page = MUST(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    MUST(mprotect(page + 4096, 4096, PROT_NONE));
    char *none = page + 4096;
    socklen_t size = sizeof fd;
    int first = next_fd();
    SHOW(getsockopt(p[0], SOL_SOCKET, SO_PEERPIDFD, none, &size));
    SHOW(getsockopt(p[0], SOL_SOCKET, SO_PEERPIDFD, &fd, (void *)none));
    SHOW(next_fd() - first);
    size = 2;
    SHOW(getsockopt(p[0], SOL_SOCKET, SO_PEERPIDFD, &fd, &size));
    say("%u, %d", size, next_fd() - first);
    for (int i = first; i < first + 3; i++)
        close(i);

    say("rights");
    give(p[0], 0, 1);
    SHOW(take(p[1], SCM_RIGHTS, none, 64) == first);
    SHOW(next_fd() - first);
    give(p[0], 0, 3);
    /* Room for the header and one of three. */
    SHOW(take(p[1], SCM_RIGHTS, none - CMSG_LEN(4), 64) == first);
    SHOW(next_fd() - first);
    for (int i = first; i < first + 3; i++)
        close(i);
    give(p[0], 0, 2);
    SHOW(take(p[1], SCM_RIGHTS, page, CMSG_LEN(4)) == first);
    SHOW(next_fd() - first);
    for (int i = first; i < first + 3; i++)
        close(i);

    say("pidfds");
    MUST(setsockopt(p[1], SOL_SOCKET, SO_PASSPIDFD, &on, sizeof on));
    MUST(write(p[0], "x", 1));
    SHOW(take(p[1], SCM_PIDFD, none, 64) == first);
    SHOW(next_fd() - first);
    for (int room = 0; room <= 24; room += 4) {
        MUST(write(p[0], "x", 1));
        say("room %d", room);
        SHOW(take(p[1], SCM_PIDFD, page, room) == first);
        SHOW(next_fd() - first);
        close(first);
    }
    MUST(write(p[0], "x", 1));
    SHOW(take(p[1], SCM_PIDFD, none - CMSG_LEN(0), 64) == first);
    SHOW(next_fd() - first);
    close(first);

    say("credentials");
    MUST(setsockopt(p[1], SOL_SOCKET, SO_PASSPIDFD, &off, sizeof off));
    MUST(setsockopt(p[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
    MUST(write(p[0], "x", 1));
    SHOW(take(p[1], SCM_CREDENTIALS, none, 64) == getpid());
    MUST(write(p[0], "x", 1));
    SHOW(take(p[1], SCM_CREDENTIALS, page, 20) == getpid());
}

/* A process that ended, and another one that has its number now. */
static void same_number(void)
{
    int p[2], q[2], on = 1, status;
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, q));
    MUST(setsockopt(q[0], SOL_SOCKET, SO_PASSPIDFD, &on, sizeof on));
    int ready[2];
    MUST(pipe(ready));
    struct sockaddr_un a = {AF_UNIX, "listener"};
    int l = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    MUST(bind(l, (void *)&a, sizeof a));
    MUST(listen(l, 5));
    pid_t pid = MUST(fork());
    if (pid == 0) {
        int s = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
        MUST(connect(s, (void *)&a, sizeof a));
        MUST(write(q[1], "x", 1));
        MUST(write(ready[1], "x", 1));
        pause();
        _exit(0);
    }
    char c, control[64] __attribute__((aligned(8)));
    MUST(read(ready[0], &c, 1));
    p[0] = MUST(accept(l, NULL, NULL));
    int fd = peer(p[0]);
    say("peer alive %d", alive(fd));
    close(fd);
    MUST(kill(pid, SIGKILL));
    MUST(waitpid(pid, &status, 0));
    MUST(fork_as(pid));
    if (getpid() == pid) {
        pause();
        _exit(0);
    }
    struct ucred u;
    socklen_t size = sizeof u;
    MUST(getsockopt(p[0], SOL_SOCKET, SO_PEERCRED, &u, &size));
    fd = peer(p[0]);
    say("number stays %d, reaches another %d", u.pid == pid, fd >= 0 && alive(fd));
    close(fd);
    fd = take(q[0], SCM_PIDFD, control, sizeof control);
    say("sender reaches another %d", fd >= 0 && alive(fd));
    MUST(kill(pid, SIGKILL));
    MUST(waitpid(pid, &status, 0));
}

int main(void)
{
    numbers_that_cannot_be_told();
    same_number();
    return 0;
}
