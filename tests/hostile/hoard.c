/* A guest that hoards: of each kind of object it makes as many as it gets. Each kind must end with an error that Linux knows, or be
 * of a kind that costs nothing. Prints a line per kind while the hoard is there: "kind: N, then ERRNO", or "kind: endless" if the
 * number that is too much was reached without one; and "tick" while it works. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

/* Each kind is a step: makes the nth, returns -1 with errno at the end. */
static char big[1 << 20];

static int nothing_open(void)
{
    static int fd;
    return fd ? fd : (fd = open("/dev/null", O_RDWR));
}

static int duplicate(long n)
{
    return dup(nothing_open());
}

static int table(long n)
{
    struct rlimit l = {1 << 20, 1 << 20};
    if (n == 0 && (setrlimit(RLIMIT_NOFILE, &l) < 0 || fcntl(nothing_open(), F_DUPFD, (1 << 20) - 1) < 0))
        return -1;
    pid_t pid = fork();
    if (pid == 0)
        pause();
    return pid;
}

static int memory_file(long n)
{
    int fd = memfd_create("hoard", 0);
    return fd < 0 ? fd : (int)write(fd, "x", 1);
}

static int opened(long n)
{
    return open("/etc/passwd", O_RDONLY);
}

static int file(long n)
{
    char name[32];
    snprintf(name, sizeof name, "f%ld", n);
    int fd = open(name, O_WRONLY | O_CREAT, 0600);
    if (fd < 0 || write(fd, "x", 1) != 1)
        return -1;
    return close(fd);
}

static int deep(long n)
{
    if (n == 0 && (mount("none", ".", "tmpfs", 0, NULL) < 0 || chdir(get_current_dir_name()) < 0))
        return -1;
    return mkdir("d", 0700) < 0 ? -1 : chdir("d");
}

static int link_text(long n)
{
    static char text[4096];
    char name[32];
    memset(text, 'x', 4090);
    snprintf(name, sizeof name, "l%ld", n);
    return symlink(text, name);
}

static int attribute(long n)
{
    char name[32], key[64];
    snprintf(name, sizeof name, "x%ld", n / 8);
    snprintf(key, sizeof key, "user.%ld", n);
    if (n % 8 == 0)
        close(open(name, O_WRONLY | O_CREAT, 0600));
    return setxattr(name, key, big, 16000, 0);
}

static int full_pipe(long n)
{
    int p[2];
    if (pipe2(p, O_NONBLOCK) < 0 || fcntl(p[0], F_SETPIPE_SZ, 1 << 20) < 0)
        return -1;
    return write(p[1], big, sizeof big) < 0 ? -1 : 0;
}

static int full_pair(long n)
{
    int p[2], most = 1 << 26;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p) < 0)
        return -1;
    setsockopt(p[0], SOL_SOCKET, SO_SNDBUFFORCE, &most, sizeof most);
    while (write(p[0], big, sizeof big) > 0)
        ;
    return errno == EAGAIN ? 0 : -1;
}

static int send_fd(int to, int fd)
{
    char control[CMSG_SPACE(4)] = {0};
    struct iovec v = {control, 1};
    struct msghdr m = {NULL, 0, &v, 1, control, sizeof control, 0};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_len = CMSG_LEN(4);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    memcpy(CMSG_DATA(c), &fd, 4);
    return sendmsg(to, &m, MSG_DONTWAIT);
}

/* Descriptors in flight; a socket takes only so many. */
static int in_flight(long n)
{
    static int p[2] = {-1, -1};
    if (n % 64 == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, p) < 0)
        return -1;
    return send_fd(p[0], nothing_open());
}

/* Sockets in sockets in sockets. */
static int nested_sockets(long n)
{
    static int inner[2] = {-1, -1};
    int outer[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, outer) < 0)
        return -1;
    if (inner[0] >= 0) {
        if (send_fd(outer[0], inner[0]) < 0 || send_fd(outer[0], inner[1]) < 0)
            return -1;
        close(inner[0]);
        close(inner[1]);
    }
    memcpy(inner, outer, sizeof inner);
    return 0;
}

static int event(long n)
{
    return eventfd(0, 0);
}

static int timer_file(long n)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, 0);
    struct itimerspec t = {{1000, 0}, {1000, 0}};
    return fd < 0 ? fd : timerfd_settime(fd, 0, &t, NULL);
}

static int signal_file(long n)
{
    sigset_t all;
    sigfillset(&all);
    return signalfd(-1, &all, 0);
}

static int process_file(long n)
{
    return syscall(SYS_pidfd_open, getpid(), 0);
}

static int poller(long n)
{
    return epoll_create1(0);
}

static int poll_watch(long n)
{
    static int ep = -1;
    if (n % 10000 == 0)
        ep = epoll_create1(0);
    int fd = n < 10000 ? dup(nothing_open()) : (int)(n % 10000) + 10;
    struct epoll_event e = {EPOLLIN, {0}};
    (void)fd;
    int p = eventfd(0, 0);
    return p < 0 ? -1 : epoll_ctl(ep, EPOLL_CTL_ADD, p, &e);
}

static int poll_chain(long n)
{
    static int last = -1;
    int ep = epoll_create1(0);
    struct epoll_event e = {EPOLLIN, {0}};
    if (last >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, last, &e) < 0)
        return -1;
    return last = ep;
}

static int watcher(long n)
{
    return inotify_init1(0);
}

static int watch(long n)
{
    static int fd = -1;
    char name[32];
    if (fd < 0)
        fd = inotify_init1(0);
    snprintf(name, sizeof name, "w%ld", n);
    close(open(name, O_WRONLY | O_CREAT, 0600));
    return inotify_add_watch(fd, name, IN_ALL_EVENTS);
}

/* Nobody reads them: the queue overflows, once. */
static int watched_change(long n)
{
    static int fd = -1;
    if (fd < 0) {
        fd = inotify_init1(0);
        inotify_add_watch(fd, ".", IN_ALL_EVENTS);
    }
    return mkdir("c", 0700) < 0 ? -1 : rmdir("c");
}

static int clock_timer(long n)
{
    timer_t t;
    struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
    struct itimerspec s = {{0, 0}, {1000, 0}};
    return syscall(SYS_timer_create, CLOCK_MONOTONIC, &e, &t) < 0 ? -1 : (int)syscall(SYS_timer_settime, (int)(long)t, 0, &s, NULL) * 0;
}

static int waiting_signal(long n)
{
    sigset_t all;
    if (n == 0) {
        sigfillset(&all);
        sigprocmask(SIG_BLOCK, &all, NULL);
    }
    return sigqueue(getpid(), SIGRTMIN + 1, (union sigval){0});
}

static int queue(long n)
{
    char name[32];
    struct mq_attr a = {.mq_maxmsg = 10, .mq_msgsize = 8192};
    snprintf(name, sizeof name, "h%ld", n);
    int q = syscall(SYS_mq_open, name, O_RDWR | O_CREAT | O_NONBLOCK, 0600, &a);
    if (q < 0)
        return -1;
    while (syscall(SYS_mq_timedsend, q, big, 8192, 0, NULL) == 0)
        ;
    return 0;
}

static int semaphores(long n)
{
    return semget(IPC_PRIVATE, 100, 0600);
}

static int segment(long n)
{
    return shmget(IPC_PRIVATE, 4096, 0600);
}

static int letters(long n)
{
    int q = msgget(IPC_PRIVATE, 0600);
    *(long *)big = 1;
    if (q < 0)
        return -1;
    while (msgsnd(q, big, 8000, IPC_NOWAIT) == 0)
        ;
    return errno == EAGAIN ? 0 : -1;
}

static int mapping(long n)
{
    static char *at;
    if (n == 0)
        at = mmap(NULL, 4096UL * 200000, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return mprotect(at + 8192 * n, 4096, PROT_READ);
}

/* What a child makes, it keeps until the end. Its error is the caller's; a child that says nothing waits. */
static int kept_by_child(int (*make)(void))
{
    int report[2], why = 0;
    if (pipe(report) < 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        close(report[0]);
        if (make() < 0)
            why = errno;
        if (write(report[1], &why, sizeof why) == sizeof why)
            for (;;)
                pause();
        _exit(1);
    }
    int failed = pid < 0 ? errno : 0;
    close(report[1]);
    struct pollfd p = {report[0], POLLIN, 0};
    if (pid > 0 && poll(&p, 1, 500) == 1)
        failed = read(report[0], &why, sizeof why) == sizeof why ? why : EPIPE;
    close(report[0]);
    errno = failed;
    return failed ? -1 : 0;
}

static int nothing(void)
{
    return 0;
}

/* Many mappings, in many processes. */
static int mapped_process(long n)
{
    for (long i = 0; n == 0 && i < 30000; i++)
        if (mapping(i) < 0)
            return -1;
    return kept_by_child(nothing);
}

/* Namespaces of all kinds, kept by descriptors; at the limit of one kind the others go on. */
static int namespace(long n)
{
    static const struct {
        int flag;
        const char *link;
    } kinds[] = {
        {CLONE_NEWUTS, "/proc/self/ns/uts"}, {CLONE_NEWIPC, "/proc/self/ns/ipc"}, {CLONE_NEWNET, "/proc/self/ns/net"},
        {CLONE_NEWNS, "/proc/self/ns/mnt"},  {0x2000000, "/proc/self/ns/cgroup"},
    };
    struct rlimit l = {1 << 20, 1 << 20};
    if (n == 0 && setrlimit(RLIMIT_NOFILE, &l) < 0)
        return -1;
    int made = -1;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (unshare(kinds[i].flag) == 0)
            made = open(kinds[i].link, O_RDONLY);
    return made;
}

/* A PID namespace below the other: each init makes the next. */
static int nested(long n)
{
    if (unshare(CLONE_NEWPID) < 0)
        return -1;
    pid_t pid = fork();
    if (pid < 0)
        return -1;
    if (pid > 0) {
        int status;
        waitpid(pid, &status, 0);
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
    }
    return 0;
}

static int own_mounts(void)
{
    return unshare(CLONE_NEWNS);
}

static int mount_namespace(long n)
{
    if (n == 0)
        mkdir("m", 0700);
    for (long i = 0; n == 0 && i < 8000; i++)
        if (mount("m", "m", NULL, MS_BIND, NULL) < 0)
            return -1;
    return kept_by_child(own_mounts);
}

static int many_groups(void)
{
    static unsigned ids[65536];
    for (int i = 0; i < 65536; i++)
        ids[i] = i;
    return syscall(SYS_setgroups, 65536, ids);
}

static int group_list(long n)
{
    return kept_by_child(many_groups);
}

static int undone[16];

static int adjust(void)
{
    for (int i = 0; i < 16; i++) {
        struct sembuf b = {0, 1, SEM_UNDO};
        if (semop(undone[i], &b, 1) < 0)
            return -1;
    }
    return 0;
}

static int adjustments(long n)
{
    for (int i = 0; n == 0 && i < 16; i++)
        if ((undone[i] = semget(IPC_PRIVATE, 32000, 0600)) < 0)
            return -1;
    return kept_by_child(adjust);
}

static struct pollfd polled[60000];

static int poll_them(void)
{
    return poll(polled, 60000, -1);
}

static int polling(long n)
{
    for (int i = 0; n == 0 && i < 60000; i++) {
        polled[i] = (struct pollfd){eventfd(0, 0), POLLIN, 0};
        if (polled[i].fd < 0)
            return -1;
    }
    return kept_by_child(poll_them);
}

/* What /proc says of many mappings, kept by many descriptors that are read half. */
static int snapshot(long n)
{
    if (n == 0)
        while (mapping(n) == 0 && n < 30000)
            n++;
    int fd = open("/proc/self/maps", O_RDONLY);
    return fd < 0 ? -1 : (int)read(fd, big, 100) * 0;
}

/* Large directories, kept by many descriptors that are read half. */
static int listing(long n)
{
    if (n == 0)
        while (n < 20000 && file(n) == 0)
            n++;
    int fd = open(".", O_RDONLY | O_DIRECTORY);
    return fd < 0 ? -1 : (int)syscall(SYS_getdents64, fd, big, 200) * 0;
}

static int process(long n)
{
    struct rlimit l = {200, 200};
    /* Root is spared. */
    if (n == 0 && (prlimit(0, RLIMIT_NPROC, &l, NULL) < 0 || setresuid(4321, 4321, 4321) < 0))
        return -1;
    pid_t pid = fork();
    if (pid == 0)
        pause();
    return pid;
}

static int lock(long n)
{
    static int fd = -1;
    if (fd < 0)
        fd = open("locked", O_RDWR | O_CREAT, 0600);
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 2 * n, .l_len = 1};
    return fcntl(fd, F_SETLK, &l);
}

static int terminal(long n)
{
    return open("/dev/ptmx", O_RDWR | O_NOCTTY);
}

static int mounted(long n)
{
    return mount("none", ".", "tmpfs", 0, "size=4k");
}

static int bound(long n)
{
    if (n == 0)
        mkdir("m", 0700);
    return mount("/proc", "m", NULL, MS_BIND | MS_REC, NULL);
}

static int connection(long n)
{
    static int to = -1;
    struct sockaddr_un a = {AF_UNIX, "\0hoard"};
    if (to < 0) {
        to = socket(AF_UNIX, SOCK_STREAM, 0);
        bind(to, (void *)&a, 8);
        listen(to, 1 << 30);
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (void *)&a, 8) < 0)
        return -1;
    return close(fd);
}

static int internet(long n)
{
    struct sockaddr_in a = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}, {0}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return fd < 0 || bind(fd, (void *)&a, sizeof a) < 0 ? -1 : listen(fd, 1);
}

static int datagram(long n)
{
    static int fd = -1;
    static struct sockaddr_in a = {AF_INET, 0, {0}, {0}};
    socklen_t size = sizeof a;
    if (fd < 0) {
        a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        bind(fd, (void *)&a, sizeof a);
        getsockname(fd, (void *)&a, &size);
    }
    return sendto(fd, big, 1000, 0, (void *)&a, sizeof a);
}

static int missing_name(long n)
{
    static const char *const dirs[] = {"", "/usr/", "/proc/", "/dev/", "/proc/self/fd/", "/sys/"};
    char name[300];
    snprintf(name, sizeof name, "%s%0200ld", dirs[n % 6], n);
    return access(name, F_OK) == 0 ? -1 : 0;
}

static int unknown_call(long n)
{
    return syscall(100000 + n) == -1 && errno == ENOSYS ? 0 : -1;
}

static int filter(long n)
{
    static struct sock_filter lines[4096];
    for (int i = 0; i < 4096; i++)
        lines[i] = (struct sock_filter){BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
    struct sock_fprog p = {4096, lines};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &p);
}

/* A robust list without an end: the process ends all the same. */
static int robust_ring(long n)
{
    static struct {
        void *next, *more, *pending;
    } head, a, b;
    head.next = &a;
    a.next = &b;
    b.next = &a;
    pid_t pid = fork();
    if (pid == 0) {
        syscall(SYS_set_robust_list, &head, 24);
        _exit(0);
    }
    return waitpid(pid, NULL, 0) == pid ? 0 : -1;
}

static int long_list(long n)
{
    static char *list[200001];
    for (int i = 0; i < 200000; i++)
        list[i] = "an argument of some length, many times";
    return execv("/bin/true", list);
}

static const struct {
    const char *name;
    int (*step)(long);
    long too_many;
    int endless; /* costs nothing: may go on for ever */
} kinds[] = {
    {"descriptors", duplicate, 200000, 0},
    {"descriptor tables", table, 64, 0},
    {"memory files", memory_file, 300000, 0},
    {"open files", opened, 200000, 0},
    {"files", file, 3000000, 0},
    {"deep directories", deep, 20000, 1},
    {"symbolic links", link_text, 3000000, 0},
    {"extended attributes", attribute, 300000, 0},
    {"pipes", full_pipe, 20000, 0},
    {"socket pairs", full_pair, 200000, 0},
    {"descriptors in flight", in_flight, 300000, 0},
    {"nested sockets", nested_sockets, 300000, 0},
    {"eventfds", event, 300000, 0},
    {"timerfds", timer_file, 300000, 0},
    {"signalfds", signal_file, 300000, 0},
    {"pidfds", process_file, 300000, 0},
    {"epolls", poller, 300000, 0},
    {"epoll watches", poll_watch, 300000, 0},
    {"epolls in epolls", poll_chain, 100, 0},
    {"inotifys", watcher, 10000, 0},
    {"inotify watches", watch, 200000, 0},
    {"inotify events", watched_change, 20000, 1},
    {"timers", clock_timer, 1 << 20, 0},
    {"waiting signals", waiting_signal, 1 << 20, 0},
    {"message queues", queue, 10000, 0},
    {"semaphores", semaphores, 100000, 0},
    {"shared memory", segment, 100000, 0},
    {"messages", letters, 100000, 0},
    {"mappings", mapping, 100000, 0},
    {"mapped processes", mapped_process, 300, 0},
    {"mount namespaces", mount_namespace, 300, 0},
    {"namespaces", namespace, 20000, 0},
    {"nested namespaces", nested, 100, 0},
    {"group lists", group_list, 300, 0},
    {"semaphore adjustments", adjustments, 300, 0},
    {"polled files", polling, 300, 0},
    {"snapshots of /proc", snapshot, 300, 1},
    {"listings", listing, 1000, 1},
    {"processes", process, 1000, 0},
    {"locks", lock, 200000, 0},
    {"terminals", terminal, 10000, 0},
    {"mounts", mounted, 300000, 0},
    {"bind mounts", bound, 300000, 0},
    {"pending connections", connection, 300000, 0},
    {"internet sockets", internet, 300000, 0},
    {"datagrams", datagram, 30000, 1},
    {"missing names", missing_name, 100000, 1},
    {"unknown calls", unknown_call, 20000, 1},
    {"filters", filter, 2000, 0},
    {"robust lists", robust_ring, 3, 1},
    {"arguments", long_list, 2, 0},
};

static void hoard(int kind)
{
    static const int raised[] = {RLIMIT_NOFILE, RLIMIT_SIGPENDING, RLIMIT_MSGQUEUE, RLIMIT_MEMLOCK, RLIMIT_NPROC};
    for (int i = 0; i < 5; i++) {
        rlim_t most = i ? RLIM_INFINITY : 100000;
        struct rlimit l = {most, most};
        if (setrlimit(raised[i], &l) < 0)
            dprintf(1, "failed: setrlimit %d: %s\n", raised[i], strerrorname_np(errno));
    }
    signal(SIGPIPE, SIG_IGN);
    char name[64];
    snprintf(name, sizeof name, "/tmp/hoard%d", kind);
    mkdir(name, 0700);
    if (chdir(name) < 0 || mount("none", name, "tmpfs", 0, "size=100m") < 0 || chdir(name) < 0)
        dprintf(1, "failed: %s: %s\n", name, strerrorname_np(errno));
    long n = 0;
    while (n < kinds[kind].too_many && kinds[kind].step(n) >= 0)
        n++;
    if (n < kinds[kind].too_many)
        dprintf(1, "%s: %ld, then %s\n", kinds[kind].name, n, strerrorname_np(errno));
    else
        dprintf(1, "%s: %ld%s\n", kinds[kind].name, n, kinds[kind].endless ? "" : ", endless");
    usleep(200000);
}

int main(int argc, char **argv)
{
    for (int i = 0; i < (int)(sizeof kinds / sizeof *kinds); i++) {
        if (argc > 1 && !strstr(kinds[i].name, argv[1]))
            continue;
        pid_t pid = fork();
        if (pid == 0) {
            setsid();
            hoard(i);
            _exit(0);
        }
        int status;
        while (waitpid(pid, &status, WNOHANG) != pid) {
            dprintf(1, "tick\n");
            usleep(100000);
        }
        if (!WIFEXITED(status) || WEXITSTATUS(status))
            dprintf(1, "%s: failed with status %#x\n", kinds[i].name, status);
        kill(-1, SIGKILL);
        while (waitpid(-1, NULL, 0) > 0)
            ;
        char name[64];
        snprintf(name, sizeof name, "/tmp/hoard%d", i);
        for (int n = 0; umount2(name, MNT_DETACH) == 0; n++)
            if (n % 100 == 0)
                dprintf(1, "tick\n");
        for (int id = 0; id < 100000; id++) {
            char b[256];
            long shm = syscall(SYS_shmctl, id, 13, b), sem = syscall(SYS_semctl, id, 0, 18, b), msg = syscall(SYS_msgctl, id, 11, b);
            if (shm < 0 && sem < 0 && msg < 0)
                break;
            syscall(SYS_shmctl, shm, 0, 0);
            syscall(SYS_semctl, sem, 0, 0, 0);
            syscall(SYS_msgctl, msg, 0, 0);
        }
        for (int id = 0; id < 400; id++) {
            char q[16];
            snprintf(q, sizeof q, "h%d", id);
            if (syscall(SYS_mq_unlink, q) < 0)
                break;
        }
    }
    dprintf(1, "done\n");
    return 0;
}
