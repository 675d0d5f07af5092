/* POSIX message queues: names, priorities, full and empty queues, timeouts, notification, poll. */
#include "check.h"
#include <mqueue.h>

static char NAME[64];

static volatile sig_atomic_t told;
static void on_message(int s, siginfo_t *i, void *u)
{
    (void)u;
    told = s == SIGUSR1 && i->si_code == SI_MESGQ ? i->si_value.sival_int : -1;
}

static void receive(mqd_t q)
{
    char text[100];
    unsigned priority = 0;
    errno = 0;
    long n = mq_receive(q, text, sizeof text, &priority);
    if (n < 0)
        say("receive: %s", strerrorname_np(errno));
    else
        say("receive: %.*s with %u", (int)n, text, priority);
}

int main(void)
{
    snprintf(NAME, sizeof NAME, "/cofferdam-guest-test-%d", getpid());
    struct mq_attr attr = {.mq_maxmsg = 4, .mq_msgsize = 50};
    SHOW(mq_open(NAME, O_RDWR));
    SHOW(mq_open("/", O_RDWR | O_CREAT, 0600, &attr));
    SHOW(mq_open("no-slash", O_RDWR | O_CREAT, 0600, &attr));
    SHOW(mq_open("/two/parts", O_RDWR | O_CREAT, 0600, &attr));
    struct mq_attr bad = {.mq_maxmsg = 0, .mq_msgsize = 50};
    SHOW(mq_open(NAME, O_RDWR | O_CREAT, 0600, &bad));
    mqd_t q = MUST(mq_open(NAME, O_RDWR | O_CREAT | O_EXCL, 0600, &attr));
    SHOW(mq_open(NAME, O_RDWR | O_CREAT | O_EXCL, 0600, &attr));
    SHOW(fcntl(q, F_GETFD));
    struct mq_attr now;
    SHOW(mq_getattr(q, &now));
    say("%ld %ld %ld %ld", now.mq_flags, now.mq_maxmsg, now.mq_msgsize, now.mq_curmsgs);

    SHOW(mq_send(q, "low", 3, 1));
    SHOW(mq_send(q, "high", 4, 9));
    SHOW(mq_send(q, "low too", 7, 1));
    SHOW(mq_send(q, "", 0, 0));
    SHOW(mq_send(q, "x", 1, 32768));
    SHOW(mq_send(q, (char *)&attr, 51, 0));
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    SHOW(mq_timedsend(q, "late", 4, 1, &t));
    t.tv_nsec = -1;
    SHOW(mq_timedsend(q, "late", 4, 1, &t));
    struct pollfd p = {q, POLLIN | POLLOUT, 0};
    SHOW(poll(&p, 1, 0));
    say("events %x", p.revents);
    char small[10];
    SHOW(mq_receive(q, small, sizeof small, NULL));
    for (int i = 0; i < 4; i++)
        receive(q);
    SHOW(poll(&p, 1, 0));
    say("events %x", p.revents);

    struct mq_attr nonblock = {.mq_flags = O_NONBLOCK}, old;
    SHOW(mq_setattr(q, &nonblock, &old));
    receive(q);
    nonblock.mq_flags = 0;
    SHOW(mq_setattr(q, &nonblock, &old));
    say("was %d", old.mq_flags == O_NONBLOCK);

    struct sigaction sa = {.sa_sigaction = on_message, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &sa, NULL);
    struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 77};
    SHOW(mq_notify(q, &e));
    SHOW(mq_notify(q, &e));
    SHOW(mq_send(q, "wake", 4, 0));
    say("told %d", told);
    told = 0;
    SHOW(mq_send(q, "again", 5, 0));
    say("told %d", told);
    SHOW(mq_notify(q, NULL));
    receive(q);
    receive(q);

    pid_t child = fork();
    if (child == 0) {
        usleep(30000);
        _exit(mq_send(q, "from the child", 14, 3) == 0 ? 0 : errno);
    }
    receive(q);
    int status;
    waitpid(child, &status, 0);
    SHOW(status);

    mqd_t r = MUST(mq_open(NAME, O_RDONLY));
    SHOW(mq_send(r, "x", 1, 0));
    SHOW(mq_unlink(NAME));
    SHOW(mq_unlink(NAME));
    SHOW(mq_send(q, "still there", 11, 0));
    receive(r);
    SHOW(mq_close(r));
    SHOW(mq_close(q));
    SHOW(mq_close(q));
    SHOW(mq_send(1, "x", 1, 0));
    return 0;
}
