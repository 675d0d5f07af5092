/* Waiting on sockets: time limits, signals, closing and shutting down what others wait on. */
#include "check.h"
#include <arpa/inet.h>
#include <pthread.h>
#include <sys/un.h>

static void handler(int s) { (void)s; }
static void alarm_in(long ms, int flags)
{
    struct sigaction a = {.sa_handler = handler, .sa_flags = flags};
    struct itimerval t = {.it_value = {ms / 1000, ms % 1000 * 1000}};
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

static int pair[2];
static void *later(void *what)
{
    pause_ms(100);
    switch ((long)what) {
    case 0: write(pair[1], "data", 4); break;
    case 1: shutdown(pair[1], SHUT_WR); break;
    case 2: shutdown(pair[0], SHUT_RD); break;
    case 3: close(pair[1]); break;
    case 4: write(pair[1], "da", 2); pause_ms(100); write(pair[1], "ta", 2); break;
    case 5: { char b[1 << 16]; while (read(pair[1], b, sizeof b) > 0); break; }
    }
    return NULL;
}
static pthread_t start(long what)
{
    pthread_t t;
    pthread_create(&t, NULL, later, (void *)what);
    return t;
}

int main(void)
{
    char b[100];
    static char big[1 << 20];
    struct timeval limit = {0, 100000};
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    SHOW(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    TIMED(90, 2000, read(pair[0], b, 100));
    TIMED(90, 2000, recv(pair[0], b, 100, 0));
    SHOW(setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit));
    long n = send(pair[0], big, sizeof big, 0);
    say("sent something: %d", n > 0 && n < (long)sizeof big);
    TIMED(90, 2000, send(pair[0], big, sizeof big, 0));
    /* With a limit, no restart. */
    alarm_in(20, SA_RESTART);
    TIMED(10, 90, recv(pair[0], b, 100, 0));
    limit.tv_usec = 0;
    SHOW(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    alarm_in(20, 0);
    TIMED(10, 2000, recv(pair[0], b, 100, 0));
    close(pair[0]);
    close(pair[1]);
    pthread_t t;
    for (int type = 0; type < 2; type++) {
        for (long what = 0; what <= 4; what++) {
            if (type == 0)
                MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
            else {
                struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
                socklen_t len = sizeof a;
                int l = MUST(socket(AF_INET, SOCK_STREAM, 0));
                MUST(bind(l, (void *)&a, sizeof a));
                MUST(listen(l, 1));
                MUST(getsockname(l, (void *)&a, &len));
                pair[0] = MUST(socket(AF_INET, SOCK_STREAM, 0));
                MUST(connect(pair[0], (void *)&a, sizeof a));
                pair[1] = MUST(accept(l, NULL, NULL));
                close(l);
            }
            say("type %d event %ld", type, what);
            t = start(what);
            alarm_in(30, SA_RESTART);
            TIMED(80, 2000, recv(pair[0], b, 4, what == 4 ? MSG_WAITALL : 0));
            pthread_join(t, NULL);
            SHOW(recv(pair[0], b, 4, MSG_DONTWAIT));
            close(pair[0]);
            close(pair[1]);
        }
    }
    /* A signal that comes when part is done. */
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    MUST(write(pair[1], "abc", 3));
    alarm_in(50, 0);
    SHOW(recv(pair[0], b, 10, MSG_WAITALL));
    alarm_in(50, 0);
    n = write(pair[0], big, sizeof big);
    say("written something: %d", n > 0 && n < (long)sizeof big);
    while (recv(pair[1], big, sizeof big, MSG_DONTWAIT) > 0)
        ;
    t = start(5);
    SHOW(write(pair[0], big, sizeof big));
    shutdown(pair[0], SHUT_WR);
    pthread_join(t, NULL);
    /* accept and connect. */
    struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "\0waiting.c"};
    int l = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    MUST(bind(l, (void *)&a, sizeof a));
    MUST(listen(l, 0));
    alarm_in(50, 0);
    SHOW(accept(l, NULL, NULL));
    limit.tv_usec = 100000;
    SHOW(setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    TIMED(90, 2000, accept(l, NULL, NULL));
    int c1 = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), c2 = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    SHOW(connect(c1, (void *)&a, sizeof a));
    SHOW(setsockopt(c2, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit));
    TIMED(90, 2000, connect(c2, (void *)&a, sizeof a));
    WORKS(accept(l, NULL, NULL));
    SHOW(connect(c2, (void *)&a, sizeof a));
    WORKS(accept(l, NULL, NULL));
    SHOW(fcntl(l, F_SETFL, O_NONBLOCK));
    SHOW(accept(l, NULL, NULL));
    struct pollfd p = {c1, POLLIN | POLLOUT | POLLRDHUP, 0};
    SHOW(close(l));
    SHOW(poll(&p, 1, 0));
    return 0;
}
