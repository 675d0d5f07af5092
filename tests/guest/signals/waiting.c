/* sigtimedwait, sigsuspend, signalfd, ppoll with a mask, alarm and interval timers. */
#include "check.h"
#include <sys/signalfd.h>

static volatile sig_atomic_t got;
static void note(int signal)
{
    got = signal;
}

int main(void)
{
    sigset_t set, none;
    sigemptyset(&none);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGALRM);
    sigaddset(&set, SIGCHLD);
    MUST(sigprocmask(SIG_BLOCK, &set, NULL));
    siginfo_t info;
    struct timespec soon = {0, 50000000}, zero = {0, 0};
    SHOW(sigtimedwait(&set, &info, &zero));
    SHOW(sigtimedwait(&set, &info, &soon));
    raise(SIGUSR1);
    SHOW(sigwaitinfo(&set, &info));
    SHOW(info.si_signo);
    SHOW(sigtimedwait(&set, &info, &(struct timespec){0, -1}));
    MUST(setitimer(ITIMER_REAL, &(struct itimerval){.it_value = {0, 50000}}, NULL));
    SHOW(sigwaitinfo(&set, &info));
    SHOW(info.si_code == SI_KERNEL);
    int fd = MUST(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
    struct signalfd_siginfo s;
    SHOW(read(fd, &s, sizeof s));
    raise(SIGUSR1);
    struct pollfd p = {fd, POLLIN, 0};
    SHOW(poll(&p, 1, 1000));
    SHOW(read(fd, &s, sizeof s) == sizeof s);
    SHOW(s.ssi_signo);
    SHOW(read(fd, &s, 10));
    pid_t child = MUST(fork());
    if (child == 0)
        _exit(5);
    SHOW(poll(&p, 1, 5000));
    SHOW(read(fd, &s, sizeof s) == sizeof s);
    say("signal %d status %d code %d child %d", s.ssi_signo, s.ssi_status, s.ssi_code, (pid_t)s.ssi_pid == child);
    MUST(waitpid(child, NULL, 0));
    signal(SIGUSR1, note);
    raise(SIGUSR1);
    SHOW(got);
    SHOW(ppoll(NULL, 0, &(struct timespec){2, 0}, &none));
    SHOW(got);
    signal(SIGALRM, note);
    alarm(1);
    SHOW(alarm(0));
    MUST(setitimer(ITIMER_REAL, &(struct itimerval){.it_value = {0, 30000}, .it_interval = {0, 30000}}, NULL));
    for (int i = 0; i < 3; i++)
        SHOW(sigsuspend(&none));
    struct itimerval left;
    MUST(setitimer(ITIMER_REAL, &(struct itimerval){0}, &left));
    say("interval %ld", (long)left.it_interval.tv_usec);
    SHOW(getitimer(9, &left));
    signal(SIGVTALRM, note);
    got = 0;
    MUST(setitimer(ITIMER_VIRTUAL, &(struct itimerval){.it_value = {0, 20000}}, NULL));
    while (!got)
        ;
    SHOW(got == SIGVTALRM);
    return 0;
}
