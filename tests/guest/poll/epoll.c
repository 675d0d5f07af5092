/* epoll: level, edge and one-shot, nesting, errors; eventfd; select and poll beside it. */
#include "check.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>

static int e;
static void waited(const char *what)
{
    struct epoll_event events[8];
    int n = epoll_wait(e, events, 8, 0);
    printf("%s: %d", what, n);
    for (int i = 0; i < n; i++)
        printf(" [%d %#x]", events[i].data.u32, events[i].events);
    say("%s", "");
}

/* An event for one of several (EPOLLEXCLUSIVE) goes to one that waits, not to one that is busy. */
static void exclusive(void)
{
    int p[2], busy = MUST(epoll_create1(0)), waiting = MUST(epoll_create1(0));
    MUST(pipe(p));
    struct epoll_event e = {EPOLLIN | EPOLLET | EPOLLEXCLUSIVE, {0}};
    MUST(epoll_ctl(busy, EPOLL_CTL_ADD, p[0], &e));
    MUST(epoll_ctl(waiting, EPOLL_CTL_ADD, p[0], &e));
    fflush(stdout);
    pid_t child = MUST(fork());
    if (child == 0) {
        SHOW(epoll_wait(waiting, &e, 1, 5000));
        _exit(0);
    }
    pause_ms(200);
    MUST(write(p[1], "x", 1));
    MUST(waitpid(child, NULL, 0));
}

int main(void)
{
    int p[2];
    char c;
    MUST(pipe2(p, O_NONBLOCK));
    e = MUST(epoll_create1(EPOLL_CLOEXEC));
    SHOW(epoll_create1(0x77));
    SHOW(epoll_create(0));
    struct epoll_event level = {EPOLLIN, {.u32 = 1}};
    SHOW(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &level));
    SHOW(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &level));
    SHOW(epoll_ctl(e, EPOLL_CTL_MOD, p[1], &level));
    SHOW(epoll_ctl(e, EPOLL_CTL_DEL, p[1], NULL));
    SHOW(epoll_ctl(e, EPOLL_CTL_ADD, e, &level));
    SHOW(epoll_ctl(e, EPOLL_CTL_ADD, 99, &level));
    SHOW(epoll_ctl(e, EPOLL_CTL_ADD, MUST(open(".", O_RDONLY)), &level));
    SHOW(epoll_ctl(p[0], EPOLL_CTL_ADD, p[0], &level));
    waited("nothing");
    MUST(write(p[1], "ab", 2));
    waited("level");
    waited("level again");
    struct epoll_event edge = {EPOLLIN | EPOLLET, {.u32 = 2}};
    SHOW(epoll_ctl(e, EPOLL_CTL_MOD, p[0], &edge));
    waited("edge");
    waited("edge again");
    MUST(write(p[1], "c", 1));
    waited("edge after a write");
    MUST(read(p[0], &c, 1));
    waited("edge after a read");
    struct epoll_event once = {EPOLLIN | EPOLLONESHOT, {.u32 = 3}};
    SHOW(epoll_ctl(e, EPOLL_CTL_MOD, p[0], &once));
    waited("one shot");
    waited("one shot again");
    SHOW(epoll_ctl(e, EPOLL_CTL_MOD, p[0], &once));
    waited("armed again");
    struct epoll_event out = {EPOLLOUT, {.u32 = 4}};
    SHOW(epoll_ctl(e, EPOLL_CTL_ADD, p[1], &out));
    waited("writable");
    int copy = MUST(dup(p[0]));
    SHOW(epoll_ctl(e, EPOLL_CTL_MOD, p[0], &level));
    SHOW(close(p[0]));
    waited("the description lives on in a copy");
    SHOW(close(copy));
    waited("the last reader is gone");
    SHOW(close(p[1]));
    waited("all closed");
    SHOW(epoll_wait(e, NULL, 0, 0));
    SHOW(epoll_wait(e, (void *)8, 1, 0));

    int v = MUST(eventfd(3, EFD_NONBLOCK));
    uint64_t value;
    SHOW(read(v, &value, 8));
    SHOW(value);
    SHOW(read(v, &value, 8));
    value = 5;
    SHOW(write(v, &value, 8));
    SHOW(write(v, &value, 8));
    SHOW(read(v, &value, 8));
    SHOW(value);
    value = UINT64_MAX;
    SHOW(write(v, &value, 8));
    value = UINT64_MAX - 1;
    SHOW(write(v, &value, 8));
    value = 1;
    SHOW(write(v, &value, 8));
    SHOW(read(v, &value, 4));
    int s = MUST(eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK));
    SHOW(read(s, &value, 8));
    SHOW(value);
    SHOW(read(s, &value, 8));
    SHOW(read(s, &value, 8));
    int outer = MUST(epoll_create1(0)), inner = e;
    SHOW(epoll_ctl(outer, EPOLL_CTL_ADD, inner, &level));
    SHOW(epoll_ctl(inner, EPOLL_CTL_ADD, outer, &level));
    SHOW(epoll_ctl(inner, EPOLL_CTL_ADD, v, &level));
    e = outer;
    waited("nested");
    fflush(stdout);
    int w = MUST(eventfd(0, 0));
    SHOW(epoll_ctl(outer, EPOLL_CTL_ADD, w, &edge));
    waited("drained");
    if (fork() == 0) {
        pause_ms(50);
        value = 1;
        MUST(write(w, &value, 8));
        _exit(0);
    }
    struct epoll_event event;
    SHOW(epoll_ctl(outer, EPOLL_CTL_DEL, inner, NULL));
    SHOW(epoll_wait(outer, &event, 1, 5000));
    SHOW(event.data.u32);
    wait(NULL);

    fd_set set;
    FD_ZERO(&set);
    FD_SET(w, &set);
    struct timeval t = {0, 0};
    SHOW(select(w + 1, &set, NULL, NULL, &t));
    SHOW(select(-1, NULL, NULL, NULL, &t));
    FD_SET(900, &set);
    SHOW(select(1000, &set, NULL, NULL, &t));
    struct pollfd f[3] = {{w, POLLIN | POLLOUT, 0}, {-5, POLLIN, 7}, {900, POLLIN, 0}};
    SHOW(poll(f, 3, 0));
    say("%#x %#x %#x", f[0].revents, f[1].revents, f[2].revents);
    long start = now_ms();
    SHOW(poll(NULL, 0, 50));
    SHOW(now_ms() - start >= 50);
    SHOW(ppoll(f, 1, &(struct timespec){0, -1}, NULL));
    exclusive();
    return 0;
}
