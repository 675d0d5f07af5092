/* sendfile, splice, tee, vmsplice, copy_file_range. */
#include "check.h"
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

static void show_pipe(int fd)
{
    char b[256];
    int n = read(fd, b, sizeof b - 1);
    if (n < 0) {
        say("pipe: %s", strerrorname_np(errno));
        return;
    }
    b[n] = 0;
    say("pipe has %d: %s", n, b);
}

static int shared[2];

/* Takes what it gets by way of a pipe of its own; how many bytes, and their sum. */
static void *taker(void *result)
{
    long *r = result;
    int own[2];
    MUST(pipe(own));
    ssize_t n;
    unsigned char b[100];
    while ((n = splice(shared[0], NULL, own[1], NULL, sizeof b, 0)) > 0) {
        if (read(own[0], b, sizeof b) != n)
            break;
        r[0] += n;
        for (int i = 0; i < n; i++)
            r[1] += b[i];
    }
    return NULL;
}

/* Every byte goes to one of them. */
static void two_takers(void)
{
    enum { ALL = 400000 };
    MUST(pipe(shared));
    long got[2][2] = {{0}}, sum = 0;
    pthread_t t[2];
    for (int i = 0; i < 2; i++)
        pthread_create(&t[i], NULL, taker, got[i]);
    for (int i = 0; i < ALL; i += 1000) {
        unsigned char b[1000];
        for (int k = 0; k < 1000; k++)
            sum += b[k] = (i / 1000 + k) % 251;
        if (write(shared[1], b, sizeof b) != sizeof b)
            say("short write");
    }
    close(shared[1]);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    say("two takers: %ld bytes, sum right: %d", got[0][0] + got[1][0], got[0][1] + got[1][1] == sum);
}

/* What tells of events gives none of them to a pipe. */
static void events(void)
{
    sigset_t none;
    sigemptyset(&none);
    int p[2];
    MUST(pipe(p));
    SHOW(splice(MUST(eventfd(1, 0)), NULL, p[1], NULL, 8, 0));
    SHOW(splice(MUST(inotify_init()), NULL, p[1], NULL, 8, 0));
    SHOW(splice(MUST(signalfd(-1, &none, 0)), NULL, p[1], NULL, 8, 0));
    SHOW(splice(MUST(timerfd_create(CLOCK_MONOTONIC, 0)), NULL, p[1], NULL, 8, 0));
    SHOW(splice(MUST(epoll_create1(0)), NULL, p[1], NULL, 8, 0));
    SHOW(splice(MUST(syscall(SYS_pidfd_open, getpid(), 0)), NULL, p[1], NULL, 8, 0));
}

int main(void)
{
    two_takers();
    put_file("a", "0123456789abcdef");
    put_file("b", "");
    int a = MUST(open("a", O_RDONLY)), b = MUST(open("b", O_RDWR)), p[2], q[2];
    MUST(pipe2(p, O_NONBLOCK));
    MUST(pipe2(q, O_NONBLOCK));
    off_t off = 4;
    SHOW(sendfile(b, a, &off, 5));
    say("offset %ld, position %ld", (long)off, (long)lseek(a, 0, SEEK_CUR));
    SHOW(sendfile(b, a, NULL, 3));
    say("position %ld", (long)lseek(a, 0, SEEK_CUR));
    SHOW(sendfile(p[1], a, NULL, 100));
    show_pipe(p[0]);
    SHOW(sendfile(p[1], a, NULL, 100));
    SHOW(sendfile(b, p[0], NULL, 100));
    SHOW(sendfile(a, b, NULL, 1));
    off = -1;
    SHOW(sendfile(b, a, &off, 1));
    int app = MUST(open("b", O_WRONLY | O_APPEND));
    off = 0;
    SHOW(sendfile(app, a, &off, 1));

    loff_t in = 2;
    SHOW(splice(a, &in, p[1], NULL, 4, 0));
    say("offset %ld", (long)in);
    SHOW(tee(p[0], q[1], 3, 0));
    SHOW(splice(p[0], NULL, q[1], NULL, 10, 0));
    show_pipe(q[0]);
    SHOW(splice(p[0], NULL, q[1], NULL, 10, 0));
    SHOW(tee(p[0], q[1], 10, 0));
    SHOW(tee(p[0], p[1], 10, 0));
    SHOW(splice(a, NULL, b, NULL, 1, 0));
    in = 0;
    SHOW(splice(p[0], &in, b, NULL, 1, 0));
    SHOW(splice(a, NULL, p[1], NULL, 1, 0x100));
    SHOW(splice(p[1], NULL, b, NULL, 1, 0));
    SHOW(write(p[1], "to the file", 11));
    loff_t out = 3;
    SHOW(splice(p[0], NULL, b, &out, 20, 0));
    say("offset %ld", (long)out);
    SHOW(splice(p[0], NULL, app, NULL, 20, 0));
    struct iovec v[2] = {{"vm", 2}, {"splice", 6}};
    SHOW(vmsplice(p[1], v, 2, 0));
    char buf[4];
    struct iovec r = {buf, 4};
    SHOW(vmsplice(p[0], &r, 1, 0));
    say("%.4s", buf);
    show_pipe(p[0]);
    SHOW(vmsplice(a, v, 2, 0));

    in = 1, out = 5;
    SHOW(copy_file_range(a, &in, b, &out, 6, 0));
    say("offsets %ld %ld", (long)in, (long)out);
    in = 100;
    SHOW(copy_file_range(a, &in, b, NULL, 6, 0));
    SHOW(copy_file_range(a, NULL, b, NULL, 6, 1));
    in = 0, out = 3;
    SHOW(copy_file_range(b, &in, b, &out, 6, 0));
    SHOW(copy_file_range(b, &in, b, &out, 3, 0));
    SHOW(copy_file_range(a, NULL, a, NULL, 6, 0));
    SHOW(copy_file_range(a, NULL, p[1], NULL, 6, 0));
    in = 0;
    SHOW(copy_file_range(a, &in, app, NULL, 6, 0));
    SHOW(copy_file_range(a, NULL, MUST(open(".", O_RDONLY)), NULL, 6, 0));
    char all[100] = {0};
    SHOW(pread(b, all, sizeof all - 1, 0));
    say("%s", all);
    signal(SIGPIPE, SIG_IGN);
    close(q[0]);
    SHOW(splice(a, &(loff_t){0}, q[1], NULL, 4, 0));
    SHOW(write(p[1], "x", 1));
    SHOW(tee(p[0], q[1], 1, 0));
    events();
    return 0;
}
