/* Which waiting calls restart after a handler, and which give EINTR. */
#include "check.h"
#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/msg.h>
#include <sys/select.h>

static int p[2], also[2];
static volatile sig_atomic_t handled;
static void on_alarm(int signal)
{
    handled++;
}

/* Signals the parent twice, then makes its call succeed. */
static void disturb(void (*finish)(void))
{
    pid_t parent = getpid();
    fflush(stdout);
    if (fork() == 0) {
        for (int i = 0; i < 2; i++) {
            pause_ms(60);
            kill(parent, SIGALRM);
        }
        pause_ms(60);
        finish();
        _exit(0);
    }
}
static void feed(void)
{
    MUST(write(p[1], "x", 1));
}
static void nothing(void)
{
}

static void flags(int flags)
{
    struct sigaction a = {.sa_handler = on_alarm, .sa_flags = flags};
    MUST(sigaction(SIGALRM, &a, NULL));
    handled = 0;
}

static void with(int sa_flags)
{
    char c;
    say("SA_RESTART %d", sa_flags != 0);
    flags(sa_flags);
    disturb(feed);
    SHOW(read(p[0], &c, 1));
    wait(NULL);
    wait(NULL);
    if (!sa_flags)
        MUST(read(p[0], &c, 1));

    flags(sa_flags);
    disturb(feed);
    struct pollfd f = {p[0], POLLIN, 0};
    SHOW(poll(&f, 1, 5000));
    while (wait(NULL) > 0 || errno == EINTR)
        ;
    MUST(read(p[0], &c, 1));

    flags(sa_flags);
    disturb(nothing);
    long start = now_ms();
    struct timespec t = {5, 0}, left;
    SHOW(nanosleep(&t, &left));
    /* What is left and what has passed are the whole, however late anybody is. */
    long rest = left.tv_sec * 1000 + left.tv_nsec / 1000000;
    say("some time left: %d", rest > 0 && rest < 5000 && rest + now_ms() - start >= 4990);
    while (wait(NULL) > 0 || errno == EINTR)
        ;
    flags(sa_flags);
    disturb(nothing);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(also[0], &set);
    struct timeval v = {5, 0};
    SHOW(select(also[0] + 1, &set, NULL, NULL, &v));
    while (wait(NULL) > 0 || errno == EINTR)
        ;
    flags(sa_flags);
    int e = MUST(epoll_create1(0));
    disturb(nothing);
    struct epoll_event event;
    SHOW(epoll_wait(e, &event, 1, 5000));
    close(e);
    while (wait(NULL) > 0 || errno == EINTR)
        ;
    flags(sa_flags);
    disturb(nothing);
    SHOW(pause());
    while (wait(NULL) > 0 || errno == EINTR)
        ;
    flags(sa_flags);
    int word = 0;
    disturb(nothing);
    SHOW(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &(struct timespec){3, 0}, NULL, 0));
    while (wait(NULL) > 0 || errno == EINTR)
        ;
    /* waitpid itself: restarts with SA_RESTART, else EINTR. */
    flags(sa_flags);
    disturb(nothing);
    int status;
    SHOW(waitpid(-1, &status, 0) > 0 ? 1 : -1);
    while (wait(NULL) > 0 || errno == EINTR)
        ;
    int s[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    struct timeval limit = {5, 0};
    MUST(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    flags(sa_flags);
    disturb(nothing);
    SHOW(recv(s[0], &c, 1, 0));
    while (wait(NULL) > 0 || errno == EINTR)
        ;
}

int main(void)
{
    MUST(pipe(p));
    MUST(pipe(also));
    with(0);
    with(SA_RESTART);
    /* A stop and continue is invisible to a sleeping call. */
    pid_t child = MUST(fork());
    if (child == 0) {
        char c;
        SHOW(read(p[0], &c, 1));
        _exit(0);
    }
    pause_ms(100);
    kill(child, SIGSTOP);
    int status;
    MUST(waitpid(child, &status, WUNTRACED));
    show_status("child", status);
    kill(child, SIGCONT);
    MUST(waitpid(child, &status, WCONTINUED));
    show_status("child", status);
    MUST(write(p[1], "x", 1));
    MUST(waitpid(child, &status, 0));
    show_status("child", status);
    return 0;
}
