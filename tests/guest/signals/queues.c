/* Pending signals: what queues, what coalesces, what is dropped, limits, and who may send what. */
#include "check.h"
#include <sys/signalfd.h>

static volatile sig_atomic_t count;
static void note(int signal)
{
    count++;
}
static sigset_t only(int a, int b)
{
    sigset_t s;
    sigemptyset(&s);
    sigaddset(&s, a);
    if (b)
        sigaddset(&s, b);
    return s;
}
static int pending(int signal)
{
    sigset_t s;
    sigpending(&s);
    return sigismember(&s, signal);
}

int main(void)
{
    struct timespec zero = {0, 0};
    siginfo_t info;
    sigset_t all, rt = only(SIGRTMIN + 2, SIGRTMIN + 3), usr = only(SIGUSR1, 0);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);

    for (int i = 0; i < 3; i++) {
        sigqueue(getpid(), SIGRTMIN + 3, (union sigval){.sival_int = i});
        sigqueue(getpid(), SIGRTMIN + 2, (union sigval){.sival_int = 10 + i});
        sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 20 + i});
    }
    for (int i = 0; i < 7; i++) {
        int s = sigtimedwait(&rt, &info, &zero);
        say("%d value %d", s < 0 ? -1 : s - SIGRTMIN, s < 0 ? errno == EAGAIN : info.si_value.sival_int);
    }
    SHOW(sigtimedwait(&usr, &info, &zero));
    say("the first of those that coalesced: %d", info.si_value.sival_int);
    SHOW(sigtimedwait(&usr, &info, &zero));

    /* Ignoring drops what waits; blocked signals wait even if ignored. */
    raise(SIGUSR1);
    SHOW(pending(SIGUSR1));
    signal(SIGUSR1, SIG_IGN);
    SHOW(pending(SIGUSR1));
    raise(SIGUSR1);
    SHOW(pending(SIGUSR1));
    signal(SIGUSR1, note);
    raise(SIGCHLD);
    SHOW(pending(SIGCHLD));
    signal(SIGCHLD, SIG_DFL);
    SHOW(pending(SIGCHLD));
    /* Stop signals and SIGCONT cancel each other. */
    raise(SIGTSTP);
    SHOW(pending(SIGTSTP));
    raise(SIGCONT);
    say("TSTP %d CONT %d", pending(SIGTSTP), pending(SIGCONT));
    raise(SIGTTIN);
    say("TTIN %d CONT %d", pending(SIGTTIN), pending(SIGCONT));
    raise(SIGCONT);
    /* Nothing is inherited by a child but the mask and actions. */
    fflush(stdout);
    if (fork() == 0) {
        sigset_t mine;
        sigprocmask(SIG_SETMASK, NULL, &mine);
        say("child: USR1 %d CONT %d blocked %d", pending(SIGUSR1), pending(SIGCONT), sigismember(&mine, SIGTERM));
        _exit(0);
    }
    wait(NULL);

    /* Limit of queued signals: per user, of whom there is no other process, if that can be. */
    if (getuid() == 0)
        MUST(setuid(1000000 + getpid()));
    struct rlimit old, few = {5, 5};
    getrlimit(RLIMIT_SIGPENDING, &old);
    few.rlim_max = old.rlim_max;
    MUST(setrlimit(RLIMIT_SIGPENDING, &few));
    while (sigtimedwait(&all, &info, &zero) > 0)
        ;
    int queued = 0;
    while (queued < 100 && sigqueue(getpid(), SIGRTMIN + 4, (union sigval){.sival_int = queued}) == 0)
        queued++;
    /* The user's other processes count too. */
    say("queued %d, then %s", queued <= 5, strerrorname_np(errno));
    SHOW(kill(getpid(), SIGRTMIN + 5));
    SHOW(kill(getpid(), SIGTERM));
    sigset_t five = only(SIGRTMIN + 5, 0), term = only(SIGTERM, 0);
    SHOW(sigtimedwait(&five, &info, &zero) > 0);
    say("information was lost: code %d pid %d", info.si_code, info.si_pid);
    SHOW(sigtimedwait(&term, &info, &zero));
    say("kept: %d", info.si_pid == getpid());
    while (sigtimedwait(&all, &info, &zero) > 0)
        ;

    MUST(setrlimit(RLIMIT_SIGPENDING, &old));
    /* Forged senders. */
    siginfo_t forged = {.si_signo = SIGUSR1, .si_code = SI_USER};
    forged.si_pid = 12345;
    SHOW(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &forged));
    SHOW(sigtimedwait(&usr, &info, &zero));
    SHOW(info.si_pid);
    pid_t child = MUST(fork());
    if (child == 0)
        for (;;)
            pause();
    SHOW(syscall(SYS_rt_sigqueueinfo, child, SIGUSR1, &forged));
    forged.si_code = SI_TKILL;
    SHOW(syscall(SYS_rt_sigqueueinfo, child, SIGUSR1, &forged));
    forged.si_code = SI_QUEUE;
    SHOW(syscall(SYS_rt_sigqueueinfo, child, 65, &forged));
    SHOW(syscall(SYS_rt_sigqueueinfo, child, 0, &forged));
    SHOW(syscall(SYS_rt_tgsigqueueinfo, child, child, SIGKILL, &forged));
    SHOW(syscall(SYS_rt_tgsigqueueinfo, 0, child, SIGKILL, &forged));
    SHOW(syscall(SYS_rt_tgsigqueueinfo, child, getpid(), SIGUSR1, &forged));
    int status;
    waitpid(child, &status, 0);
    show_status("child", status);

    /* Arguments. */
    SHOW(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, NULL, 4));
    SHOW(syscall(SYS_rt_sigprocmask, 99, NULL, NULL, 8));
    SHOW(syscall(SYS_rt_sigprocmask, SIG_BLOCK, 8, NULL, 8));
    SHOW(syscall(SYS_rt_sigaction, SIGUSR1, NULL, NULL, 4));
    SHOW(syscall(SYS_rt_sigaction, SIGUSR1, 8, NULL, 8));
    SHOW(syscall(SYS_rt_sigpending, 8, 8));
    SHOW(syscall(SYS_rt_sigpending, 8, 9));
    SHOW(syscall(SYS_rt_sigpending, 8, 0));
    SHOW(syscall(SYS_rt_sigtimedwait, &usr, NULL, &zero, 4));
    SHOW(syscall(SYS_rt_sigsuspend, 8, 8));
    SHOW(syscall(SYS_rt_sigsuspend, &usr, 7));
    SHOW(syscall(SYS_sigaltstack, 8, NULL));
    SHOW(syscall(SYS_restart_syscall));
    SHOW(kill(-99999, 0));
    SHOW(kill(0x80000000, SIGTERM));

    int fd = MUST(signalfd(-1, &usr, SFD_CLOEXEC | SFD_NONBLOCK));
    SHOW(fcntl(fd, F_GETFD));
    SHOW(signalfd(fd, &rt, 0) == fd);
    SHOW(signalfd(0x7fffffff, &rt, 0));
    SHOW(signalfd(-1, &rt, 0x123));
    int zerofd = MUST(open("/dev/null", O_RDWR));
    SHOW(signalfd(zerofd, &rt, 0));
    struct signalfd_siginfo records[4];
    for (int i = 0; i < 3; i++)
        sigqueue(getpid(), SIGRTMIN + 2 + i % 2, (union sigval){.sival_int = 100 + i});
    ssize_t n = read(fd, records, sizeof records);
    for (int i = 0; i * (ssize_t)sizeof records[0] < n; i++)
        say("record: RTMIN+%d value %d code %d", records[i].ssi_signo - SIGRTMIN, records[i].ssi_int, records[i].ssi_code);
    SHOW(write(fd, records, 128));
    return 0;
}
