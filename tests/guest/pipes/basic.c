/* Pipes: ends, capacity, atomic writes, SIGPIPE, non-blocking, packet mode, splice and tee. */
#include "check.h"

static volatile sig_atomic_t broken;
static void on_sigpipe(int signal)
{
    broken++;
}

int main(void)
{
    int p[2];
    char buffer[70000] = {0};
    SHOW(pipe2(p, 0x40));
    SHOW(pipe((int *)8));
    MUST(pipe(p));
    SHOW(write(p[1], "hello", 5));
    int waiting;
    SHOW(ioctl(p[0], FIONREAD, &waiting));
    SHOW(waiting);
    SHOW(read(p[0], buffer, 2));
    SHOW(read(p[0], buffer, sizeof buffer));
    SHOW(write(p[0], "x", 1));
    SHOW(read(p[1], buffer, 1));
    SHOW(fcntl(p[0], F_GETPIPE_SZ));
    SHOW(fcntl(p[1], F_SETPIPE_SZ, 5000));
    SHOW(fcntl(p[1], F_GETPIPE_SZ));
    MUST(fcntl(p[1], F_SETFL, O_NONBLOCK));
    MUST(fcntl(p[0], F_SETFL, O_NONBLOCK));
    SHOW(read(p[0], buffer, 1));
    SHOW(write(p[1], buffer, sizeof buffer));
    SHOW(write(p[1], buffer, 1));
    SHOW(read(p[0], buffer, 100));
    SHOW(write(p[1], buffer, 200));
    SHOW(fcntl(p[1], F_SETPIPE_SZ, 4096));
    struct pollfd f = {p[1], POLLOUT, 0};
    SHOW(poll(&f, 1, 0));
    while (read(p[0], buffer, sizeof buffer) > 0)
        ;
    SHOW(poll(&f, 1, 0));
    SHOW(close(p[1]));
    SHOW(read(p[0], buffer, 1));
    f = (struct pollfd){p[0], POLLIN, 0};
    SHOW(poll(&f, 1, 0));
    SHOW(f.revents == POLLHUP);
    MUST(pipe(p));
    signal(SIGPIPE, on_sigpipe);
    SHOW(close(p[0]));
    SHOW(write(p[1], "x", 1));
    SHOW(write(p[1], NULL, 0));
    SHOW(broken);
    f = (struct pollfd){p[1], POLLOUT, 0};
    SHOW(poll(&f, 1, 0));
    SHOW(f.revents == (POLLOUT | POLLERR));
    MUST(pipe2(p, O_DIRECT | O_NONBLOCK));
    SHOW(write(p[1], "one", 3));
    SHOW(write(p[1], "two", 3));
    SHOW(read(p[0], buffer, 100));
    SHOW(read(p[0], buffer, 1));
    SHOW(read(p[0], buffer, 100));
    int q[2];
    MUST(pipe(q));
    MUST(pipe(p));
    SHOW(write(p[1], "spliced", 7));
    SHOW(tee(p[0], q[1], 100, 0));
    SHOW(splice(p[0], NULL, q[1], NULL, 3, 0));
    memset(buffer, 0, 100);
    SHOW(read(q[0], buffer, 100));
    say("%s", buffer);
    int fd = MUST(open("f", O_RDWR | O_CREAT, 0600));
    off_t at = 10;
    SHOW(splice(p[0], NULL, fd, &at, 100, 0));
    SHOW(at);
    at = 0;
    SHOW(splice(fd, &at, p[1], NULL, 12, 0));
    SHOW(splice(fd, NULL, fd, NULL, 1, 0));
    SHOW(splice(p[0], &at, q[1], NULL, 1, 0));
    struct iovec v = {"gift", 4};
    SHOW(vmsplice(q[1], &v, 1, 0));
    SHOW(read(q[0], buffer, 100));
    return 0;
}
