/* Pipes that are used often by the same two, and then something changes: who reads, who waits, how, or whether there is anybody. */
#include "often.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <sys/wait.h>

enum { OFTEN = 400 };
static char page[65536], got[65536];
/* With lengths and addresses that compilers warn of. */
#define do_read(fd, at, len) syscall(SYS_read, fd, at, (long)(len))
#define do_write(fd, at, len) syscall(SYS_write, fd, at, (long)(len))

/* A pipe that this thread writes and reads. */
static void often(int p[2])
{
    for (int i = 0; i < OFTEN; i++) {
        size_t n = 1 + i * 37 % 3000;
        memset(page, i, n);
        if (do_write(p[1], page, n) != (long)n || do_read(p[0], got, sizeof got) != (long)n || memcmp(page, got, n))
            say("message %d went wrong", i);
    }
}

static void fresh(int p[2], int flags)
{
    MUST(pipe2(p, flags));
    often(p);
}

static int there(int fd)
{
    int n = -1;
    MUST(ioctl(fd, FIONREAD, &n));
    return n;
}

static short ready(int fd, short events)
{
    struct pollfd f = {fd, events, 0};
    MUST(poll(&f, 1, 0));
    return f.revents;
}

static void finish(int p[2])
{
    close(p[0]);
    close(p[1]);
}

static void looks(void)
{
    int p[2];
    fresh(p, O_NONBLOCK);
    SHOW(do_read(p[0], got, 1));
    SHOW(do_write(p[1], "abcdef", 6));
    SHOW(there(p[0]));
    SHOW(ready(p[0], POLLIN));
    SHOW(do_read(p[0], got, 2));
    SHOW(there(p[1]));
    SHOW(do_read(p[0], (void *)8, 4));
    SHOW(do_write(p[1], (void *)8, 4));
    SHOW(do_read(p[0], got, 0));
    SHOW(do_write(p[1], page, 0));
    SHOW(do_read(p[0], got, 100));
    got[4] = 0;
    say("%s", got);
    SHOW(do_read(p[1], got, 1));
    SHOW(do_write(p[0], got, 1));
    SHOW(lseek(p[0], 0, SEEK_SET));
    often(p);
    SHOW(fcntl(p[0], F_GETPIPE_SZ));
    /* As full as it gets. */
    long n, all = 0;
    while ((n = do_write(p[1], page, 1000)) > 0)
        all += n;
    SHOW(all);
    SHOW(ready(p[1], POLLOUT));
    SHOW(there(p[0]));
    while ((n = do_read(p[0], got, 777)) > 0)
        all -= n;
    SHOW(all);
    often(p);
    SHOW(fcntl(p[1], F_SETPIPE_SZ, 4096));
    often(p);
    SHOW(do_write(p[1], page, 4096));
    SHOW(do_write(p[1], page, 1));
    SHOW(do_read(p[0], got, 4096));
    finish(p);
}

static void packets(void)
{
    int p[2];
    fresh(p, 0);
    SHOW(do_write(p[1], "abc", 3));
    SHOW(fcntl(p[1], F_SETFL, O_DIRECT));
    SHOW(do_read(p[0], got, 100));
    SHOW(do_write(p[1], "defg", 4));
    SHOW(do_write(p[1], "hi", 2));
    for (int i = 0; i < 2; i++)
        SHOW(do_read(p[0], got, 100));
    often(p);
    MUST(do_write(p[1], "x", 1));
    MUST(do_write(p[1], "yz", 2));
    SHOW(do_read(p[0], got, 100));
    SHOW(fcntl(p[1], F_SETFL, 0));
    SHOW(do_read(p[0], got, 100));
    often(p);
    finish(p);
}

static void others(void)
{
    int p[2], q[2];
    fresh(p, 0);
    MUST(pipe(q));
    /* By another descriptor, another way, another process. */
    int d = MUST(dup(p[0]));
    MUST(do_write(p[1], "12345678", 8));
    SHOW(do_read(d, got, 3));
    struct iovec v = {got, 2};
    SHOW(readv(p[0], &v, 1));
    SHOW(tee(p[0], q[1], 2, 0));
    SHOW(splice(p[0], 0, q[1], 0, 100, 0));
    SHOW(do_read(q[0], got, 100));
    say("%.5s", got);
    often(p);
    MUST(do_write(p[1], "child", 5));
    fflush(stdout);
    pid_t pid = MUST(fork());
    if (!pid) {
        SHOW(do_read(p[0], got, 3));
        for (int i = 0; i < OFTEN; i++)
            if (do_write(q[1], page, 10) != 10 || do_read(q[0], got, 100) != 10)
                say("child's %d", i);
        SHOW(do_write(p[1], "!", 1));
        fflush(stdout);
        _exit(0);
    }
    MUST(waitpid(pid, 0, 0));
    SHOW(do_read(p[0], got, 100));
    say("%.3s", got);
    /* The number of a descriptor that is another one now. */
    often(p);
    MUST(do_write(p[1], "old", 3));
    MUST(dup2(q[0], p[0]));
    MUST(do_write(q[1], "new!", 4));
    SHOW(do_read(p[0], got, 100));
    SHOW(do_read(d, got, 100));
    finish(q);
    finish(p);
    close(d);
}

static void ends(void)
{
    int p[2];
    fresh(p, 0);
    MUST(do_write(p[1], "last", 4));
    close(p[1]);
    SHOW(do_read(p[0], got, 2));
    SHOW(do_read(p[0], got, 100));
    SHOW(do_read(p[0], got, 100));
    SHOW(ready(p[0], POLLIN));
    close(p[0]);
    fresh(p, 0);
    MUST(do_write(p[1], "lost", 4));
    close(p[0]);
    signal(SIGPIPE, SIG_IGN);
    SHOW(do_write(p[1], "x", 1));
    SHOW(ready(p[1], POLLOUT) & POLLERR);
    close(p[1]);
    signal(SIGPIPE, SIG_DFL);
    /* The one who reads is killed. */
    int q[2];
    MUST(pipe(p));
    MUST(pipe(q));
    pid_t pid = MUST(fork());
    if (!pid) {
        close(p[1]);
        close(q[0]);
        for (;;)
            if (do_read(p[0], got, 100) <= 0 || do_write(q[1], got, 1) != 1)
                _exit(1);
    }
    close(p[0]);
    close(q[1]);
    for (int i = 0; i < 5000; i++)
        if (do_write(p[1], "x", 1) != 1 || do_read(q[0], got, 100) != 1)
            say("went wrong");
    MUST(kill(pid, SIGKILL));
    MUST(waitpid(pid, 0, 0));
    signal(SIGPIPE, SIG_IGN);
    SHOW(do_write(p[1], "x", 1));
    SHOW(do_read(q[0], got, 1));
    signal(SIGPIPE, SIG_DFL);
    close(p[1]);
    close(q[0]);
}

static int box[2];
static int (*waiter)(void);
static pthread_barrier_t begin;

static int by_poll(void)
{
    struct pollfd f = {box[0], POLLIN, 0};
    return MUST(poll(&f, 1, -1)) + f.revents;
}

static int by_epoll(void)
{
    int e = MUST(epoll_create1(0));
    struct epoll_event v = {EPOLLIN | EPOLLET, {0}};
    MUST(epoll_ctl(e, EPOLL_CTL_ADD, box[0], &v));
    int n = MUST(epoll_wait(e, &v, 1, -1));
    close(e);
    return n;
}

static int by_read(void)
{
    char c;
    return MUST(do_read(box[0], &c, 1));
}

static void *wait_once(void *unused)
{
    pthread_barrier_wait(&begin);
    SHOW(waiter());
    return unused;
}

/* Who waits for a pipe that two others have used often is woken. */
static void waiters(void)
{
    int (*const all[])(void) = {by_poll, by_epoll, by_read};
    for (int i = 0; i < 3; i++) {
        fresh(box, 0);
        waiter = all[i];
        pthread_t t;
        pthread_barrier_init(&begin, 0, 2);
        pthread_create(&t, 0, wait_once, 0);
        often(box);
        pthread_barrier_wait(&begin);
        usleep(50000);
        MUST(do_write(box[1], "w", 1));
        pthread_join(t, 0);
        finish(box);
    }
}

static int ping[2], pong[2];

static void *echo(void *count)
{
    char c;
    for (long i = 0; i < (long)count; i++)
        if (do_read(ping[0], &c, 1) != 1 || do_write(pong[1], &c, 1) != 1)
            say("echo %ld", i);
    return 0;
}

static long exchange(long count)
{
    long sum = 0;
    for (long i = 0; i < count; i++) {
        char c = i, d = 0;
        if (do_write(ping[1], &c, 1) != 1 || do_read(pong[0], &d, 1) != 1 || c != d)
            say("message %ld", i);
        sum += (unsigned char)d;
    }
    return sum;
}

static void in_turns(void)
{
    MUST(pipe(ping));
    MUST(pipe(pong));
    pthread_t t;
    pthread_create(&t, 0, echo, (void *)20000);
    SHOW(exchange(20000));
    pthread_join(t, 0);
    pid_t pid = MUST(fork());
    if (!pid) {
        echo((void *)20000);
        /* And on with others that do the same, one after the other. */
        for (int i = 0; i < 3; i++) {
            pid_t next = fork();
            if (!next) {
                echo((void *)3000);
                _exit(0);
            }
            waitpid(next, 0, 0);
        }
        _exit(0);
    }
    SHOW(exchange(20000) + exchange(9000));
    MUST(waitpid(pid, 0, 0));
    finish(ping);
    finish(pong);
}

static void handler(int s)
{
    (void)s;
}

/* A reader that finds nothing is interrupted. */
static void interrupted(void)
{
    struct sigaction a = {.sa_handler = handler};
    MUST(sigaction(SIGALRM, &a, 0));
    MUST(pipe(ping));
    MUST(pipe(pong));
    pthread_t t;
    sigset_t alarm;
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarm, 0);
    pthread_create(&t, 0, echo, (void *)6000);
    pthread_sigmask(SIG_UNBLOCK, &alarm, 0);
    SHOW(exchange(6000));
    pthread_join(t, 0);
    struct itimerval v = {{0, 0}, {0, 30000}};
    for (int i = 0; i < 3; i++) {
        MUST(setitimer(ITIMER_REAL, &v, 0));
        SHOW(do_read(pong[0], got, 1));
    }
    finish(ping);
    finish(pong);
}

static const int sizes[] = {1, 7, 4096, 100, 5000, 64, 65536, 3, 2048, 333};

static unsigned sum_of(unsigned sum, const char *at, long n)
{
    for (long i = 0; i < n; i++)
        sum = sum * 31 + (unsigned char)at[i];
    return sum;
}

/* A stream of messages of all sizes, whole and in order. */
static void stream(void)
{
    enum { ALL = 4 << 20 };
    int p[2];
    MUST(pipe(p));
    fflush(stdout);
    pid_t pid = MUST(fork());
    if (!pid) {
        close(p[1]);
        unsigned sum = 0;
        long n, all = 0;
        for (int i = 0; (n = do_read(p[0], got, sizes[i % 10])) > 0; i += 3, all += n)
            sum = sum_of(sum, got, n);
        SHOW(all);
        SHOW(sum);
        fflush(stdout);
        _exit(0);
    }
    close(p[0]);
    unsigned sum = 0;
    for (long at = 0, i = 0; at < ALL; i++) {
        long n = sizes[i % 10] < ALL - at ? sizes[i % 10] : ALL - at;
        memset(page, i, n);
        page[0] = i >> 8;
        long done = MUST(do_write(p[1], page, n));
        sum = sum_of(sum, page, done);
        at += done;
    }
    SHOW(sum);
    fflush(stdout);
    close(p[1]);
    MUST(waitpid(pid, 0, 0));
}

int main(void)
{
    warm(any_call);
    looks();
    packets();
    others();
    ends();
    waiters();
    in_turns();
    interrupted();
    stream();
    return 0;
}
