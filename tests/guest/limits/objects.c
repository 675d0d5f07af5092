/* What happens at the limits on descriptors, sockets in flight, epoll, signals, timers, queues, processes. */
#include "check.h"
#include <linux/sched.h>
#include <mqueue.h>
#include <sys/epoll.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/uio.h>
#include <sys/un.h>

static void limit(int resource, rlim_t value)
{
    struct rlimit l = {value, value};
    MUST(setrlimit(resource, &l));
}

static int send_fds(int to, int fd, int count)
{
    static char control[CMSG_SPACE(4 * 300)];
    memset(control, 0, sizeof control);
    struct iovec v = {control, 1};
    struct msghdr m = {NULL, 0, &v, 1, control, CMSG_SPACE(4 * count), 0};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_len = CMSG_LEN(4 * count);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    for (int i = 0; i < count; i++)
        memcpy(CMSG_DATA(c) + 4 * i, &fd, 4);
    return sendmsg(to, &m, MSG_DONTWAIT);
}

/* Somebody without privileges, whom nobody else is: the limits count by user, so another run of this test at the same time must be another one. */
static void in_child(const char *what, void (*run)(void))
{
    say("-- %s", what);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        uid_t user = 1000000 + getpid();
        if (geteuid() == 0)
            MUST(setresuid(user, user, user));
        run();
        exit(0);
    }
    int status;
    MUST(waitpid(pid, &status, 0));
    show_status(what, status);
}

static void descriptors(void)
{
    limit(RLIMIT_NOFILE, 20);
    int last = 0, fd;
    while ((fd = dup(0)) >= 0)
        last = fd;
    printf("last %d\n", last);
    SHOW(dup(0));
    SHOW(open("/dev/null", O_RDONLY));
    SHOW(socket(AF_UNIX, SOCK_STREAM, 0));
    SHOW(epoll_create1(0));
    SHOW(dup2(0, 20));
    SHOW(dup2(0, 1000000));
    SHOW(fcntl(0, F_DUPFD, 20));
    SHOW(fcntl(0, F_DUPFD, 19));
    int p[2];
    close(last);
    SHOW(pipe(p));
    SHOW(dup(0) == last);
    /* A child whose pidfd has no room is not made. */
    int pidfd = -5;
    struct clone_args a = {.flags = CLONE_PIDFD, .pidfd = (uint64_t)&pidfd, .exit_signal = SIGCHLD};
    SHOW(syscall(SYS_clone3, &a, sizeof a));
    SHOW(wait(NULL));
}

/* A connection for which there is no descriptor waits. */
static void accepting(void)
{
    int listener = MUST(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    socklen_t size = sizeof name;
    MUST(bind(listener, (void *)&name, sizeof(sa_family_t)));
    MUST(getsockname(listener, (void *)&name, &size));
    MUST(listen(listener, 5));
    int client = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    MUST(connect(client, (void *)&name, size));
    MUST(write(client, "x", 1));
    int last = MUST(dup(0));
    limit(RLIMIT_NOFILE, last + 1);
    SHOW(accept(listener, NULL, NULL));
    SHOW(accept(last, NULL, NULL));
    SHOW(accept4(listener, NULL, NULL, 0x123));
    SHOW(accept4(1000, NULL, NULL, 0x123));
    close(last);
    SHOW(accept(last, NULL, NULL));
    int server = accept(listener, NULL, NULL);
    SHOW(server == last);
    char c;
    SHOW(read(server, &c, 1));
    SHOW(accept(listener, NULL, NULL));
    close(server);
    SHOW(accept(listener, NULL, NULL));
}

static void in_flight(void)
{
    int p[2];
    MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, p));
    SHOW(send_fds(p[0], 0, 253));
    SHOW(send_fds(p[0], 0, 254));
    limit(RLIMIT_NOFILE, 50);
    int others[2];
    MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, others));
    SHOW(send_fds(others[0], 0, 1));
}

static void nested_sockets(void)
{
    int inner[2] = {-1, -1}, depth = 0;
    for (; depth < 20; depth++) {
        int outer[2];
        MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, outer));
        if (inner[0] >= 0 && send_fds(outer[0], inner[1], 1) < 0)
            break;
        memcpy(inner, outer, sizeof inner);
    }
    printf("depth %d\n", depth);
}

static void pollers(void)
{
    struct epoll_event e = {EPOLLIN, {0}};
    int last = -1, n = 0, ep;
    for (;; n++) {
        ep = MUST(epoll_create1(0));
        if (last >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, last, &e) < 0)
            break;
        last = ep;
    }
    printf("%d deep, then %s\n", n, strerrorname_np(errno));
    int a = epoll_create1(0), b = epoll_create1(0);
    SHOW(epoll_ctl(a, EPOLL_CTL_ADD, a, &e));
    SHOW(epoll_ctl(a, EPOLL_CTL_ADD, b, &e));
    SHOW(epoll_ctl(b, EPOLL_CTL_ADD, a, &e));
    struct epoll_event room[1];
    SHOW(epoll_wait(a, room, 0, 0));
    SHOW(epoll_wait(a, room, 1 << 30, 0));
}

static void signals(void)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    limit(RLIMIT_SIGPENDING, 5);
    int n = 0;
    while (n < 100 && sigqueue(getpid(), SIGRTMIN + 1, (union sigval){0}) == 0)
        n++;
    printf("%d queued\n", n);
    SHOW(sigqueue(getpid(), SIGRTMIN + 2, (union sigval){0}));
    SHOW(kill(getpid(), SIGRTMIN + 3));
    SHOW(kill(getpid(), SIGUSR1));
    timer_t t;
    SHOW(timer_create(CLOCK_MONOTONIC, NULL, &t));
}

static void timers(void)
{
    limit(RLIMIT_SIGPENDING, 3);
    timer_t t;
    for (int i = 0; i < 4; i++)
        SHOW(timer_create(CLOCK_MONOTONIC, NULL, &t));
}

static void queues(void)
{
    struct mq_attr a = {.mq_maxmsg = 10, .mq_msgsize = 8192};
    limit(RLIMIT_MSGQUEUE, 4096);
    SHOW(mq_open("/cofferdam-limit", O_RDWR | O_CREAT, 0600, &a));
    a.mq_maxmsg = 11;
    SHOW(mq_open("/cofferdam-limit", O_RDWR | O_CREAT, 0600, &a));
    struct sembuf ops[501] = {{0}};
    int sem = MUST(semget(IPC_PRIVATE, 1, 0600));
    SHOW(semop(sem, ops, 501));
    SHOW(semop(sem, ops, 0));
    SHOW(semget(IPC_PRIVATE, 32001, 0600));
    MUST(semctl(sem, 0, IPC_RMID));
    static struct {
        long type;
        char text[10000];
    } m = {1, {0}};
    int q = MUST(msgget(IPC_PRIVATE, 0600));
    SHOW(msgsnd(q, &m, 8193, IPC_NOWAIT));
    int n = 0;
    while (n < 100 && msgsnd(q, &m, 8192, IPC_NOWAIT) == 0)
        n++;
    printf("%d messages, then %s\n", n, strerrorname_np(errno));
    MUST(msgctl(q, IPC_RMID, NULL));
}

static void memory(void)
{
    limit(RLIMIT_MEMLOCK, 0);
    void *at = MUST(mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    SHOW(mlock(at, 4096));
    limit(RLIMIT_AS, 256 << 20);
    WORKS(mmap(NULL, 1UL << 30, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    WORKS(mremap(at, 8192, 1UL << 30, MREMAP_MAYMOVE));
    WORKS(brk((char *)sbrk(0) + (1UL << 30)));
}

static void processes(void)
{
    limit(RLIMIT_NPROC, 1);
    SHOW(fork());
}

static void vectors(void)
{
    static struct iovec v[1025];
    SHOW(writev(1, v, 1025));
    SHOW(writev(1, v, 1024));
    SHOW(writev(1, v, -1));
    int p[2];
    MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, p));
    struct msghdr m = {NULL, 0, v, 1025, NULL, 0, 0};
    SHOW(sendmsg(p[0], &m, 0));
    SHOW(send(p[0], v, 1 << 30, MSG_DONTWAIT));
}

static void pipes(void)
{
    int p[2];
    MUST(pipe(p));
    SHOW(fcntl(p[0], F_SETPIPE_SZ, 1 << 20));
    SHOW(fcntl(p[0], F_SETPIPE_SZ, (1 << 20) + 1));
    SHOW(fcntl(p[0], F_SETPIPE_SZ, -1));
    SHOW(fcntl(p[0], F_SETPIPE_SZ, 0));
}

static void files(void)
{
    int fd = MUST(memfd_create("limited", 0));
    signal(SIGXFSZ, SIG_IGN);
    limit(RLIMIT_FSIZE, 8192);
    SHOW(ftruncate(fd, 8193));
    SHOW(fallocate(fd, 0, 0, 8193));
    SHOW(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 8193));
    SHOW(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 8192));
    SHOW(pwrite(fd, "x", 1, 8192));
    SHOW(pwrite(fd, "xyz", 3, 8190));
}

static void arguments(void)
{
    static char long_one[(128 << 10) + 1];
    memset(long_one, 'x', sizeof long_one - 1);
    char *argv[] = {"true", long_one, NULL};
    SHOW(execv("/bin/true", argv));
    static char *many[100001];
    for (int i = 0; i < 100000; i++)
        many[i] = "an argument of some length that is given again and again, until it is too much";
    SHOW(execv("/bin/true", many));
}

int main(void)
{
    in_child("descriptors", descriptors);
    in_child("accepting", accepting);
    in_child("in flight", in_flight);
    in_child("nested sockets", nested_sockets);
    in_child("pollers", pollers);
    in_child("signals", signals);
    in_child("timers", timers);
    in_child("queues", queues);
    in_child("memory", memory);
    in_child("vectors", vectors);
    in_child("pipes", pipes);
    in_child("files", files);
    in_child("arguments", arguments);
    /* The sandbox counts all its processes together: this one and its parent. */
    in_child("processes", processes);
    return 0;
}
