/* Single calls that work on much that was made before: while they run, a process beside them must be answered, and the sentry must
 * stay small. Each attack runs in a process of its own and is told by name when it is over. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char *text)
{
    char line[128];
    int n = snprintf(line, sizeof line, "%s\n", text);
    if (write(1, line, (size_t)n) != n)
        _exit(1);
}

/* Watches of closed files are looked for among those that are ready. */
static void dead_watches(void)
{
    int poller = epoll_create1(0), last = poller;
    struct epoll_event event = {.events = EPOLLIN};
    for (int i = 0; i < 60000; i++) {
        int fd = eventfd(1, 0);
        if (fd < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event))
            break;
        last = fd;
    }
    int alive = eventfd(1, 0);
    close_range((unsigned)poller + 1, (unsigned)last, 0);
    for (int i = 0; i < 70000; i++) {
        int fd = dup(alive);
        if (fd < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event))
            break;
    }
}

/* Mounts upon mounts, listed and moved. */
static void stacked_mounts(void)
{
    const char *const dirs[] = {"/tmp/stack", "/tmp/from", "/tmp/to"};
    for (int i = 0; i < 3; i++)
        mkdir(dirs[i], 0755);
    mount("none", "/tmp/from", "tmpfs", 0, "size=4k");
    for (int i = 0; i < 9900; i++)
        if (mount("none", "/tmp/stack", "tmpfs", 0, "size=4k"))
            break;
    static char text[1 << 16];
    const char *const files[] = {"/proc/self/mountinfo", "/proc/self/mounts", "/proc/self/mountstats"};
    for (int i = 0; i < 3; i++) {
        int fd = open(files[i], O_RDONLY);
        if (pread(fd, text, sizeof text, 1000) < 0)
            perror(files[i]);
        close(fd);
    }
    for (int i = 0; i < 3; i++) {
        mount("/tmp/from", "/tmp/to", 0, MS_MOVE, 0);
        mount("/tmp/to", "/tmp/from", 0, MS_MOVE, 0);
    }
    for (int i = 0; i < 9900; i++)
        if (umount2("/tmp/stack", MNT_DETACH))
            break;
}

/* Every close releases locks. */
static void many_flocks(void)
{
    for (int i = 0; i < 60000; i++) {
        int fd = open("/tmp/locked", O_RDWR | O_CREAT, 0600);
        if (fd < 0 || flock(fd, LOCK_SH))
            break;
    }
    close_range(3, ~0u, 0);
}

static int locked;

static void *wait_for_all(void *unused)
{
    struct flock all = {.l_type = F_RDLCK, .l_len = 0};
    fcntl(locked, F_SETLKW, &all);
    return unused;
}

/* A call that waits for many locks. */
static void many_waiters(void)
{
    locked = open("/tmp/records", O_RDWR | O_CREAT, 0600);
    int ready[2];
    char byte;
    if (pipe(ready))
        return;
    pid_t holder = fork();
    if (!holder) {
        struct flock one = {.l_type = F_WRLCK, .l_len = 1};
        for (int i = 0; i < 8000; i++) {
            one.l_start = 2 * i;
            if (fcntl(locked, F_SETLK, &one))
                break;
        }
        if (write(ready[1], "", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    if (read(ready[0], &byte, 1) != 1)
        return;
    for (int i = 0; i < 100000; i++)
        if (dup(locked) < 0)
            break;
    close_range(ready[1] + 1, ~0u, 0);
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 16384);
    for (int i = 0; i < 1500; i++) {
        pthread_t thread;
        if (pthread_create(&thread, &small, wait_for_all, NULL))
            break;
    }
    sleep(1);
    say("locks are waited for");
    kill(holder, SIGKILL);
}

/* Events that nobody reads, with long names. */
static void unread_events(void)
{
    char a[251], b[251];
    memset(a, 'a', 250);
    memset(b, 'b', 250);
    a[250] = b[250] = 0;
    mkdir("/tmp/watched", 0755);
    if (chdir("/tmp/watched") || mknod(a, S_IFREG | 0600, 0))
        return;
    for (int i = 0; i < 128; i++)
        inotify_add_watch(inotify_init1(IN_NONBLOCK), ".", IN_ALL_EVENTS);
    for (int i = 0; i < 2500; i++)
        if (rename(a, b) || rename(b, a))
            break;
    say("events are unread");
}

static void much_random(void)
{
    size_t len = 32 << 20;
    char *bytes = malloc(len);
    for (int i = 0; i < 2; i++)
        if (getrandom(bytes, len, 0) < 0)
            break;
}

/* A thousand messages of a thousand parts. */
static void fat_messages(void)
{
    int pair[2], much = 32 << 20;
    static char bytes[100 << 10];
    static struct iovec parts[1024];
    static struct mmsghdr messages[1024];
    for (int i = 0; i < 1024; i++) {
        parts[i] = (struct iovec){bytes, 100};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = parts, .msg_iovlen = 1024};
    }
    socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
    setsockopt(pair[1], SOL_SOCKET, SO_SNDBUFFORCE, &much, sizeof much);
    for (int i = 0; i < 3; i++) {
        sendmmsg(pair[1], messages, 1024, MSG_DONTWAIT);
        recvmmsg(pair[0], messages, 1024, MSG_DONTWAIT, NULL);
    }
}

/* Pages without end that the host's kernel makes for one call. */
static void many_pages(void)
{
    size_t len = 40UL << 30;
    char *pages = mmap(0, len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pages == MAP_FAILED || madvise(pages, len, MADV_POPULATE_READ))
        say("no pages");
}

static void *sleep_on(void *word)
{
    while (!*(volatile int *)word)
        syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    return NULL;
}

/* Thousands of threads that sleep in futexes are killed at once, when this process ends. */
static void many_sleepers(void)
{
    static int word;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 16384);
    for (int i = 0; i < 8; i++) {
        if (fork())
            continue;
        for (int k = 0; k < 250; k++) {
            pthread_t thread;
            if (pthread_create(&thread, &small, sleep_on, &word))
                break;
        }
        sleep_on(&word);
    }
    sleep(3);
    say("threads sleep");
    kill(0, SIGKILL);
}

static void *ask(void *unused)
{
    struct rusage used;
    for (;;)
        getrusage(RUSAGE_THREAD, &used);
    return unused;
}

/* More threads than the sentry has workers want something of their process while that does something long. */
static void many_askers(void)
{
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 16384);
    for (int i = 0; i < 64; i++) {
        pthread_t thread;
        if (pthread_create(&thread, &small, ask, NULL))
            break;
    }
    size_t len = 256UL << 20;
    for (int i = 0; i < 3; i++) {
        char *pages = mmap(0, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (pages == MAP_FAILED)
            break;
        memset(pages, 1, len);
        munmap(pages, len);
    }
}

/* Each datagram is for thousands of sockets, with as long filters as there may be; a call sends many. */
static void many_listeners(void)
{
    struct sockaddr_in group = {.sin_family = AF_INET, .sin_port = htons(4321)};
    group.sin_addr.s_addr = htonl(0xef010101);
    struct ip_mreqn on_lo = {.imr_ifindex = 1};
    int sender = socket(AF_INET, SOCK_DGRAM, 0);
    setsockopt(sender, IPPROTO_IP, IP_MULTICAST_IF, &on_lo, sizeof on_lo);
    on_lo.imr_multiaddr = group.sin_addr;
    static struct sock_filter code[4096];
    for (int i = 0; i < 4095; i++)
        code[i] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 3);
    code[4095] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
    struct sock_fprog filter = {4096, code};
    int one = 1, segment = 500;
    for (int i = 0; i < 8000; i++) {
        int fd = socket(AF_INET, SOCK_DGRAM, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (fd < 0 || bind(fd, (struct sockaddr *)&group, sizeof group) ||
            setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &on_lo, sizeof on_lo))
            break;
        setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter);
    }
    if (connect(sender, (struct sockaddr *)&group, sizeof group))
        perror("connect");
    static char data[64000];
    aio_context_t context = 0;
    struct iocb request = {.aio_fildes = (unsigned)sender, .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_nbytes = 100};
    request.aio_buf = (unsigned long)data;
    static struct iocb *requests[1000];
    for (int i = 0; i < 1000; i++)
        requests[i] = &request;
    if (syscall(SYS_io_setup, 1000, &context) || syscall(SYS_io_submit, context, 1000, requests) < 0)
        perror("io_submit");
    setsockopt(sender, IPPROTO_UDP, 103 /* UDP_SEGMENT */, &segment, sizeof segment);
    struct iovec part = {data, sizeof data};
    static struct mmsghdr messages[64];
    for (int i = 0; i < 64; i++)
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &part, .msg_iovlen = 1};
    if (sendmmsg(sender, messages, 64, 0) < 0)
        perror("sendmmsg");
}

static const struct attack {
    const char *name;
    void (*run)(void);
} attacks[] = {
    {"dead watches", dead_watches}, {"stacked mounts", stacked_mounts}, {"many flocks", many_flocks},
    {"many waiters", many_waiters}, {"unread events", unread_events},   {"much random", much_random},
    {"fat messages", fat_messages},     {"many pages", many_pages},         {"many sleepers", many_sleepers},
    {"many askers", many_askers},       {"many listeners", many_listeners},
};

int main(void)
{
    struct rlimit most = {1 << 20, 1 << 20};
    setrlimit(RLIMIT_NOFILE, &most);
    pid_t ticker = fork();
    if (!ticker)
        for (;;) {
            say("tick");
            usleep(10000);
        }
    for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++) {
        pid_t attacker = fork();
        if (!attacker) {
            setpgid(0, 0);
            attacks[i].run();
            _exit(0);
        }
        waitpid(attacker, NULL, 0);
        kill(-attacker, SIGKILL);
        /* Those that die keep nobody waiting either. */
        usleep(100000);
        say(attacks[i].name);
    }
    say("done");
    kill(ticker, SIGKILL);
    return 0;
}
