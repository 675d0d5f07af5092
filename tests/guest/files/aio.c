/* Kernel asynchronous I/O: io_setup and its family, by system calls. */
#include "check.h"
#include <linux/aio_abi.h>
#include <sys/eventfd.h>

#define setup(n, c) syscall(SYS_io_setup, n, c)
#define destroy(c) syscall(SYS_io_destroy, c)
#define submit(c, n, p) syscall(SYS_io_submit, c, n, p)
#define cancel(c, p, r) syscall(SYS_io_cancel, c, p, r)
#define getevents(c, min, max, e, t) syscall(SYS_io_getevents, c, min, max, e, t)
#define BAD ((void *)8)

static struct timespec none;
static struct io_event ev[8];
static aio_context_t c;

static struct iocb cb(int op, int fd, void *buf, unsigned long n, long long at)
{
    static int number;
    struct iocb r = {.aio_lio_opcode = op, .aio_fildes = fd, .aio_buf = (unsigned long)buf, .aio_nbytes = n,
                     .aio_offset = at, .aio_data = ++number};
    return r;
}

static void events(const char *what, long min)
{
    struct timespec t = {5, 0};
    long n = getevents(c, min, 8, ev, min ? &t : &none);
    say("%s: %ld", what, n);
    for (long i = 0; i < n; i++)
        say("  %lld: %lld %lld", (long long)ev[i].data, (long long)ev[i].res, (long long)ev[i].res2);
}

static void one(const char *what, struct iocb r)
{
    struct iocb *p = &r;
    long n = submit(c, 1L, &p);
    if (n != 1)
        say("%s: %s", what, n < 0 ? strerrorname_np(errno) : "none");
    else
        events(what, 1);
}

static void contexts(void)
{
    aio_context_t d = 1;
    SHOW(setup(8, &d));
    d = 0;
    SHOW(setup(0, &d));
    SHOW(setup(8, BAD));
    SHOW(setup(0x7fffffff, &d));
    SHOW(setup(8, &d));
    SHOW(d != 0);
    SHOW(destroy(d + 4096));
    SHOW(destroy(d));
    SHOW(destroy(d));
    SHOW(submit(d, 0L, NULL));
    SHOW(getevents(d, 0L, 1L, ev, &none));
}

static void requests(void)
{
    char b[64] = "hello, asynchronous world";
    int f = MUST(open("f", O_RDWR | O_CREAT | O_TRUNC, 0600)), w = MUST(open("f", O_WRONLY));
    int dir = MUST(open(".", O_RDONLY)), path = MUST(open(".", O_PATH));
    one("write", cb(IOCB_CMD_PWRITE, f, b, 25, 0));
    memset(b, 0, sizeof b);
    one("read", cb(IOCB_CMD_PREAD, f, b, 64, 7));
    say("%s", b);
    struct iovec v[2] = {{b, 5}, {b + 10, 3}};
    memset(b, 0, sizeof b);
    one("readv", cb(IOCB_CMD_PREADV, f, v, 2, 0));
    say("%s %s", b, b + 10);
    one("writev", cb(IOCB_CMD_PWRITEV, f, v, 2, 100));
    one("sync", cb(IOCB_CMD_FSYNC, f, NULL, 0, 0));
    one("data sync", cb(IOCB_CMD_FDSYNC, f, NULL, 0, 0));
    one("sync with buffer", cb(IOCB_CMD_FSYNC, f, b, 0, 0));
    one("beyond the end", cb(IOCB_CMD_PREAD, f, b, 8, 1000));
    one("negative offset", cb(IOCB_CMD_PREAD, f, b, 8, -1));
    one("negative length", cb(IOCB_CMD_PREAD, f, b, -1, 0));
    one("write only", cb(IOCB_CMD_PREAD, w, b, 8, 0));
    one("O_PATH", cb(IOCB_CMD_PREAD, path, b, 8, 0));
    one("directory", cb(IOCB_CMD_PREAD, dir, b, 8, 0));
    one("no file", cb(IOCB_CMD_PREAD, 99, b, 8, 0));
    one("no such request", cb(99, f, b, 8, 0));
    one("vectors nowhere", cb(IOCB_CMD_PREADV, f, BAD, 2, 0));
    struct iocb r = cb(IOCB_CMD_PREAD, f, b, 8, 0);
    r.aio_reserved2 = 1;
    one("reserved", r);
    r = cb(IOCB_CMD_PREAD, f, b, 8, 0);
    r.aio_rw_flags = 0x8000;
    one("unknown flags", r);
    r = cb(IOCB_CMD_PREAD, f, b, 8, 0);
    r.aio_flags = IOCB_FLAG_RESFD, r.aio_resfd = f;
    one("no eventfd", r);

    struct iocb a1 = cb(IOCB_CMD_PREAD, f, b, 4, 0), a2 = cb(IOCB_CMD_PREAD, f, b, 5, 0);
    struct iocb bad = cb(IOCB_CMD_PREAD, 99, b, 5, 0);
    struct iocb *list[] = {&a1, &a2, &bad, &a1};
    SHOW(submit(c, 4L, list));
    SHOW(ev[0].obj == 0);
    events("two of four", 2);
    SHOW(ev[0].obj == (unsigned long)&a1);
    list[1] = BAD;
    SHOW(submit(c, 2L, list));
    events("the first", 1);
    SHOW(submit(c, 1L, BAD));
    SHOW(submit(c, -1L, list));
    SHOW(submit(c, 0L, list));
    SHOW(getevents(c, 2L, 1L, ev, &none));
    SHOW(getevents(c, -1L, 1L, ev, &none));
    struct timespec soon = {0, 20000000};
    SHOW(getevents(c, 1L, 1L, ev, &soon));
    SHOW(getevents(c, 1L, 1L, ev, BAD));

    int e = MUST(eventfd(0, EFD_NONBLOCK));
    uint64_t n = 0;
    r = cb(IOCB_CMD_PREAD, f, b, 4, 0);
    r.aio_flags = IOCB_FLAG_RESFD, r.aio_resfd = e;
    one("with eventfd", r);
    SHOW(read(e, &n, 8));
    SHOW(n);
    n = UINT64_MAX - 1;
    SHOW(write(e, &n, 8));
    struct pollfd full = {.fd = e, .events = POLLIN | POLLOUT};
    SHOW(poll(&full, 1, 0));
    SHOW(full.revents);
    one("with a full eventfd", r);
    SHOW(poll(&full, 1, 0));
    SHOW(full.revents);
    one("with an eventfd that overflowed", r);
    SHOW(read(e, &n, 8));
    SHOW(n == UINT64_MAX);
}

static void streams(void)
{
    int p[2];
    char b[16] = "abc";
    MUST(pipe(p));
    one("write to a pipe", cb(IOCB_CMD_PWRITE, p[1], b, 3, 0));
    one("read from a pipe", cb(IOCB_CMD_PREAD, p[0], b, 16, 0));
    MUST(fcntl(p[0], F_SETFL, O_NONBLOCK));
    one("nothing there", cb(IOCB_CMD_PREAD, p[0], b, 16, 0));
    struct iocb r = cb(IOCB_CMD_POLL, p[0], (void *)POLLIN, 0, 0), *l = &r;
    SHOW(submit(c, 1L, &l));
    events("not ready", 0);
    SHOW(cancel(c, &r, ev));
    events("cancelled", 1);
    SHOW(cancel(c, &r, ev));
    r = cb(IOCB_CMD_POLL, p[0], (void *)POLLIN, 0, 0);
    SHOW(submit(c, 1L, &l));
    if (MUST(fork()) == 0) {
        /* Contexts are not inherited. */
        SHOW(getevents(c, 0L, 1L, ev, &none));
        pause_ms(50);
        MUST(write(p[1], "x", 1));
        _exit(0);
    }
    events("ready", 1);
    MUST(wait(NULL));
    one("ready at once", cb(IOCB_CMD_POLL, p[1], (void *)POLLOUT, 0, 0));
    one("bad poll", cb(IOCB_CMD_POLL, p[1], (void *)POLLOUT, 1, 0));
    close(p[0]);
    signal(SIGPIPE, SIG_IGN);
    one("broken pipe", cb(IOCB_CMD_PWRITE, p[1], b, 3, 0));
    close(p[1]);
}

/* More than is moved at once, behind another request. */
static void large(void)
{
    size_t n = 40 << 20;
    char *big = MUST(mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    int fd = MUST(memfd_create("large", 0));
    struct iocb a = cb(IOCB_CMD_PWRITE, fd, big, 1, 0), b = cb(IOCB_CMD_PWRITE, fd, big, n, 1);
    struct iocb r = cb(IOCB_CMD_PREAD, fd, big, n, 1), *list[] = {&a, &b, &r};
    SHOW(submit(c, 3L, list));
    events("large", 3);
    close(fd);
    munmap(big, n);
}

static void ring(int signal)
{
    (void)signal;
}

int main(void)
{
    contexts();
    SHOW(setup(8, &c));
    requests();
    streams();
    large();
    struct sigaction s = {.sa_handler = ring};
    MUST(sigaction(SIGALRM, &s, NULL));
    alarm(1);
    SHOW(getevents(c, 1L, 1L, ev, NULL));
    SHOW(destroy(c));
    return 0;
}
