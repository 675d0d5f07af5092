/* eventfd: counts, limits, waiting; what epoll says of sockets and nested instances. */
#include "check.h"
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

static int fd;
static void *add_later(void *n)
{
    pause_ms(50);
    uint64_t v = (uintptr_t)n;
    write(fd, &v, 8);
    return NULL;
}
static void *take_later(void *n)
{
    (void)n;
    pause_ms(50);
    uint64_t v;
    read(fd, &v, 8);
    return NULL;
}
static void show_poll(void)
{
    struct pollfd p = {fd, POLLIN | POLLOUT, 0};
    poll(&p, 1, 0);
    say("poll %#x", p.revents);
}
static void waited(int e)
{
    struct epoll_event v[10];
    int n = epoll_wait(e, v, 10, 0);
    printf("epoll %d", n);
    for (int i = 0; i < n; i++)
        printf(" [%d %#x]", v[i].data.u32, v[i].events);
    say("%s", "");
}

int main(void)
{
    uint64_t v = 0;
    pthread_t t;
    fd = MUST(eventfd(3, EFD_NONBLOCK));
    SHOW(eventfd(0, 0x40000));
    SHOW(read(fd, &v, 7));
    SHOW(read(fd, &v, 8));
    SHOW(v);
    SHOW(read(fd, &v, 8));
    show_poll();
    v = UINT64_MAX;
    SHOW(write(fd, &v, 8));
    v = UINT64_MAX - 1;
    SHOW(write(fd, &v, 8));
    show_poll();
    v = 1;
    SHOW(write(fd, &v, 8));
    SHOW(write(fd, &v, 4));
    SHOW(read(fd, (void *)8, 8));
    SHOW(write(fd, (void *)8, 8));
    SHOW(lseek(fd, 0, SEEK_SET));
    SHOW(pread(fd, &v, 8, 0));
    SHOW(fcntl(fd, F_SETFL, 0));
    SHOW(read(fd, &v, 8) > 0);
    pthread_create(&t, NULL, add_later, (void *)5);
    SHOW(read(fd, &v, 8));
    SHOW(v);
    pthread_join(t, NULL);
    v = UINT64_MAX - 1;
    SHOW(write(fd, &v, 8));
    pthread_create(&t, NULL, take_later, NULL);
    SHOW(write(fd, &v, 8));
    pthread_join(t, NULL);
    close(fd);
    fd = MUST(eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC));
    SHOW(fcntl(fd, F_GETFD));
    SHOW(read(fd, &v, 8));
    SHOW(v);
    SHOW(read(fd, &v, 8));
    SHOW(read(fd, &v, 8));

    int s[2], inner = MUST(epoll_create1(0)), outer = MUST(epoll_create1(0));
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s));
    struct epoll_event a = {EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, {.u32 = 1}}, b = {EPOLLIN, {.u32 = 2}};
    SHOW(epoll_ctl(inner, EPOLL_CTL_ADD, s[0], &a));
    SHOW(epoll_ctl(outer, EPOLL_CTL_ADD, inner, &b));
    SHOW(epoll_ctl(inner, EPOLL_CTL_ADD, outer, &b));
    waited(outer);
    waited(inner);
    waited(outer);
    MUST(write(s[1], "x", 1));
    waited(outer);
    waited(inner);
    waited(inner);
    MUST(write(s[1], "y", 1));
    waited(inner);
    SHOW(shutdown(s[1], SHUT_WR));
    waited(inner);
    SHOW(close(s[1]));
    waited(inner);
    waited(inner);
    SHOW(dup2(s[0], 50));
    SHOW(epoll_ctl(inner, EPOLL_CTL_ADD, 50, &b));
    waited(inner);
    SHOW(close(50));
    waited(inner);
    SHOW(epoll_ctl(inner, EPOLL_CTL_DEL, 50, &b));
    SHOW(close(s[0]));
    waited(inner);
    int chain[7];
    for (int i = 0; i < 7; i++)
        chain[i] = MUST(epoll_create1(0));
    for (int i = 0; i < 6; i++)
        SHOW(epoll_ctl(chain[i], EPOLL_CTL_ADD, chain[i + 1], &b));
    SHOW(epoll_ctl(chain[5], EPOLL_CTL_ADD, chain[0], &b));
    struct epoll_event ex = {EPOLLIN | EPOLLEXCLUSIVE, {.u32 = 3}};
    SHOW(epoll_ctl(outer, EPOLL_CTL_ADD, chain[6], &ex));
    SHOW(epoll_ctl(outer, EPOLL_CTL_ADD, fd, &ex));
    SHOW(epoll_ctl(outer, EPOLL_CTL_MOD, fd, &b));
    SHOW(epoll_ctl(outer, EPOLL_CTL_DEL, fd, NULL));
    ex.events |= EPOLLONESHOT;
    SHOW(epoll_ctl(outer, EPOLL_CTL_ADD, fd, &ex));
    SHOW(epoll_ctl(outer, EPOLL_CTL_ADD, fd, NULL));
    SHOW(epoll_ctl(outer, 99, fd, &b));
    SHOW(epoll_ctl(99, EPOLL_CTL_ADD, fd, &b));
    return 0;
}
