/* Signal-delivery-stops: every signal but SIGKILL stops the tracee, whose tracer lets it through, replaces or suppresses it. */
#include "tracer.h"

static void on(int n, siginfo_t *i, void *c)
{
    say("  handler: %s code %d value %d", sigabbrev_np(n), i->si_code, i->si_value.sival_int);
}

static void body(void)
{
    struct sigaction a = {.sa_sigaction = on, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &a, NULL);
    sigaction(SIGUSR2, &a, NULL);
    signal(SIGHUP, SIG_IGN);
    kill(getpid(), SIGUSR1); /* let through */
    kill(getpid(), SIGUSR1); /* suppressed */
    kill(getpid(), SIGUSR1); /* replaced */
    sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 7}); /* with other information */
    kill(getpid(), SIGHUP);  /* ignored, but seen */
    kill(getpid(), SIGCHLD); /* ignored by default, but seen */
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    kill(getpid(), SIGUSR2); /* waits */
    say("  blocked");
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    raise(SIGTERM); /* suppressed: it would kill */
    *(volatile int *)8 = 1;
}

static void show_info(pid_t pid)
{
    siginfo_t i;
    memset(&i, 0, sizeof i);
    if (trace(PTRACE_GETSIGINFO, pid, 0, (unsigned long)&i) < 0)
        say("  siginfo: %s", strerrorname_np(errno));
    else
        say("  siginfo: %s code %d%s", sigabbrev_np(i.si_signo), i.si_code, i.si_code <= 0 && i.si_pid == pid ? " from itself" : "");
}

int main(void)
{
    pid_t pid = start(body);
    show_info(pid);
    MUST(trace(PTRACE_CONT, pid, 0, 0));
    wait_for("one", pid);
    show_info(pid);
    MUST(trace(PTRACE_CONT, pid, 0, SIGUSR1));
    wait_for("two", pid);
    MUST(trace(PTRACE_CONT, pid, 0, 0));
    wait_for("three", pid);
    MUST(trace(PTRACE_CONT, pid, 0, SIGUSR2));
    wait_for("four", pid);
    siginfo_t i;
    MUST(trace(PTRACE_GETSIGINFO, pid, 0, (unsigned long)&i));
    say("value %d", i.si_value.sival_int);
    i.si_value.sival_int = 8;
    SHOW(trace(PTRACE_SETSIGINFO, pid, 0, (unsigned long)&i));
    MUST(trace(PTRACE_CONT, pid, 0, SIGUSR1));
    wait_for("ignored", pid);
    MUST(trace(PTRACE_CONT, pid, 0, SIGHUP));
    wait_for("chld", pid);
    MUST(trace(PTRACE_CONT, pid, 0, SIGCHLD));
    wait_for("unblocked", pid);
    /* Signals that wait, and the mask. */
    unsigned long mask = 0;
    SHOW(trace(PTRACE_GETSIGMASK, pid, 4, (unsigned long)&mask));
    SHOW(trace(PTRACE_GETSIGMASK, pid, 8, (unsigned long)&mask));
    say("mask %#lx", mask);
    mask = 1ul << (SIGWINCH - 1) | 1ul << (SIGURG - 1) | 1ul << (SIGKILL - 1);
    SHOW(trace(PTRACE_SETSIGMASK, pid, 8, (unsigned long)&mask));
    mask = 0;
    MUST(trace(PTRACE_GETSIGMASK, pid, 8, (unsigned long)&mask));
    say("mask %#lx", mask);
    kill(pid, SIGWINCH);
    kill(pid, SIGURG);
    siginfo_t found[4];
    struct {
        unsigned long off;
        unsigned flags;
        int nr;
    } args = {0, 1, 4};
    SHOW(trace(PTRACE_PEEKSIGINFO, pid, (unsigned long)&args, (unsigned long)found));
    say("%s %s", sigabbrev_np(found[0].si_signo), sigabbrev_np(found[1].si_signo));
    args.off = 1;
    SHOW(trace(PTRACE_PEEKSIGINFO, pid, (unsigned long)&args, (unsigned long)found));
    args.flags = 0;
    SHOW(trace(PTRACE_PEEKSIGINFO, pid, (unsigned long)&args, (unsigned long)found));
    args.flags = 2;
    SHOW(trace(PTRACE_PEEKSIGINFO, pid, (unsigned long)&args, (unsigned long)found));
    mask = 0;
    MUST(trace(PTRACE_SETSIGMASK, pid, 8, (unsigned long)&mask));
    MUST(trace(PTRACE_CONT, pid, 0, SIGUSR2));
    wait_for("now", pid);
    MUST(trace(PTRACE_CONT, pid, 0, 0));
    wait_for("now", pid);
    MUST(trace(PTRACE_CONT, pid, 0, 0));
    wait_for("term", pid);
    MUST(trace(PTRACE_CONT, pid, 0, 0));
    wait_for("fault", pid);
    MUST(trace(PTRACE_GETSIGINFO, pid, 0, (unsigned long)&i));
    say("at %p code %d", i.si_addr, i.si_code);
    SHOW(trace(PTRACE_CONT, pid, 0, 65));
    MUST(trace(PTRACE_CONT, pid, 0, SIGSEGV));
    wait_for("end", pid);
    SHOW(trace(PTRACE_CONT, pid, 0, 0));
    return 0;
}
