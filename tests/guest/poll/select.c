/* select, pselect, poll, ppoll: sets, limits, time left, signals and masks. */
#include "check.h"
#include <linux/aio_abi.h>
#include <sys/epoll.h>
#include <sys/select.h>

static volatile int caught;
static void handler(int s) { caught = s; }
static void alarm_in(long ms, int flags)
{
    struct sigaction a = {.sa_handler = handler, .sa_flags = flags};
    struct itimerval t = {.it_value = {0, ms * 1000}};
    caught = 0;
    sigaction(SIGALRM, &a, NULL);
    setitimer(ITIMER_REAL, &t, NULL);
}
#define TIMED(low, high, expr)                                                         \
    do {                                                                               \
        long start_ = now_ms();                                                        \
        SHOW(expr);                                                                    \
        long took_ = now_ms() - start_;                                                \
        if (took_ < low || took_ > high)                                               \
            say("took %ld ms", took_);                                                 \
    } while (0)

int main(void)
{
    int p[2];
    fd_set r, w, x;
    struct timeval t;
    struct timespec ts;
    sigset_t empty, alarm_set;
    sigemptyset(&empty);
    sigemptyset(&alarm_set);
    sigaddset(&alarm_set, SIGALRM);
    MUST(pipe2(p, O_NONBLOCK));
#define SETS()                                                                         \
    do {                                                                               \
        FD_ZERO(&r);                                                                   \
        FD_ZERO(&w);                                                                   \
        FD_ZERO(&x);                                                                   \
        FD_SET(p[0], &r);                                                              \
        FD_SET(p[1], &w);                                                              \
        FD_SET(p[0], &x);                                                              \
    } while (0)
    SETS();
    SHOW(select(p[1] + 1, &r, &w, &x, NULL));
    say("%d %d %d", FD_ISSET(p[0], &r), FD_ISSET(p[1], &w), FD_ISSET(p[0], &x));
    MUST(write(p[1], "x", 1));
    SETS();
    SHOW(select(p[1] + 1, &r, &w, &x, NULL));
    say("%d %d %d", FD_ISSET(p[0], &r), FD_ISSET(p[1], &w), FD_ISSET(p[0], &x));
    SETS();
    SHOW(select(p[0], &r, &w, &x, &(struct timeval){0}));
    char c;
    MUST(read(p[0], &c, 1));
    FD_ZERO(&r);
    FD_SET(p[0], &r);
    t = (struct timeval){0, 50000};
    TIMED(45, 1000, select(p[0] + 1, &r, NULL, NULL, &t));
    say("left %ld.%06ld, set %d", t.tv_sec, t.tv_usec, FD_ISSET(p[0], &r));
    t = (struct timeval){0, 0};
    TIMED(0, 40, select(0, NULL, NULL, NULL, &t));
    t = (struct timeval){-1, 0};
    SHOW(select(0, NULL, NULL, NULL, &t));
    t = (struct timeval){0, 1500000};
    FD_SET(p[1], &w);
    SHOW(select(p[1] + 1, NULL, &w, NULL, &t));
    say("left %ld", t.tv_sec);
    SHOW(select(-1, NULL, NULL, NULL, NULL));
    FD_ZERO(&r);
    FD_SET(40, &r);
    SHOW(select(41, &r, NULL, NULL, NULL));
    FD_ZERO(&r);
    FD_SET(900, &r);
    t = (struct timeval){0, 1000};
    SHOW(select(901, &r, NULL, NULL, &t));
    SHOW(syscall(SYS_select, 1, (void *)8, NULL, NULL, NULL));
    SHOW(syscall(SYS_select, 1, NULL, NULL, NULL, (void *)8));
    alarm_in(30, SA_RESTART);
    SHOW(select(0, NULL, NULL, NULL, NULL));
    /* A mask for the call alone. */
    sigprocmask(SIG_BLOCK, &alarm_set, NULL);
    alarm_in(10, 0);
    pause_ms(30);
    say("caught %d", caught);
    FD_ZERO(&r);
    FD_SET(p[0], &r);
    SHOW(pselect(p[0] + 1, &r, NULL, NULL, NULL, &empty));
    say("caught %d", caught);
    alarm_in(10, 0);
    ts = (struct timespec){0, 50000000};
    TIMED(45, 1000, pselect(0, NULL, NULL, NULL, &ts, NULL));
    say("caught %d", caught);
    MUST(write(p[1], "x", 1));
    FD_ZERO(&r);
    FD_SET(p[0], &r);
    SHOW(pselect(p[0] + 1, &r, NULL, NULL, NULL, &empty));
    say("caught %d", caught);
    struct pollfd f[3] = {{p[0], POLLIN, -1}, {p[1], POLLOUT | POLLIN, -1}, {-7, POLLIN, -1}};
    SHOW(poll(f, 3, -1));
    say("%#x %#x %#x", f[0].revents, f[1].revents, f[2].revents);
    MUST(read(p[0], &c, 1));
    f[2].fd = 99;
    SHOW(poll(f, 3, 0));
    say("%#x %#x %#x", f[0].revents, f[1].revents, f[2].revents);
    TIMED(45, 1000, poll(f, 1, 50));
    SHOW(poll(NULL, 0, 0));
    SHOW(poll(NULL, 1, 0));
    SHOW(syscall(SYS_poll, NULL, 1 << 30, 0));
    SHOW(ppoll(f, 1, NULL, &empty));
    say("caught %d", caught);
    ts = (struct timespec){0, 1000000000};
    SHOW(ppoll(f, 1, &ts, NULL));
    SHOW(syscall(SYS_ppoll, f, 1, NULL, &empty, 4));
    ts = (struct timespec){0, 20000000};
    SHOW(syscall(SYS_ppoll, f, 1, &ts, NULL, 8));
    say("left %ld.%09ld", ts.tv_sec, ts.tv_nsec);
    sigprocmask(SIG_UNBLOCK, &alarm_set, NULL);
    alarm_in(30, SA_RESTART);
    SHOW(poll(f, 1, -1));
    int e = MUST(epoll_create1(0));
    struct epoll_event ev;
    alarm_in(30, SA_RESTART);
    SHOW(epoll_wait(e, &ev, 1, -1));
    sigprocmask(SIG_BLOCK, &alarm_set, NULL);
    alarm_in(10, 0);
    pause_ms(30);
    SHOW(epoll_pwait(e, &ev, 1, 20, NULL));
    SHOW(epoll_pwait(e, &ev, 1, -1, &empty));
    say("caught %d", caught);
    TIMED(15, 1000, epoll_wait(e, &ev, 1, 20));
    SHOW(epoll_wait(e, &ev, 0, 0));
    SHOW(epoll_wait(e, &ev, -1, 0));
    SHOW(epoll_wait(p[0], &ev, 1, 0));
    /* Stopped and continued: poll goes on, epoll_wait does not. */
    for (int which = 0; which < 2; which++) {
        pid_t child = MUST(fork());
        if (child == 0) {
            if (which)
                SHOW(epoll_wait(e, &ev, 1, 300));
            else
                TIMED(290, 3000, poll(f, 1, 300));
            _exit(0);
        }
        pause_ms(50);
        kill(child, SIGSTOP);
        pause_ms(50);
        kill(child, SIGCONT);
        int status;
        MUST(waitpid(child, &status, 0));
        show_status("child", status);
    }
    return 0;
}
