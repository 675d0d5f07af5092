//@ root=only
/* A tracer outside of its tracee's PID and user namespaces: what it is told is in its own numbers, and what the tracee is told of it in the tracee's. */
#include "tracer.h"
#include <pthread.h>
#include <sched.h>

static void caught(int signal, siginfo_t *info, void *unused)
{
    say("caught %s: code %d pid %d uid %u", sigabbrev_np(signal), info->si_code, info->si_pid, info->si_uid);
}

static void *again(void *unused)
{
    execl("/proc/self/exe", "across", "again", NULL);
    _exit(99);
}

static void body(void)
{
    say("tracee: pid %d", getpid());
    struct sigaction act = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO};
    MUST(sigaction(SIGUSR2, &act, NULL));
    MUST(raise(SIGUSR1));
    pid_t p = vfork();
    if (p == 0)
        _exit(4);
    waitpid(p, NULL, 0);
    pthread_t t;
    pthread_create(&t, NULL, again, NULL);
    for (;;)
        pause();
}

/* The next SIGCHLD, which is blocked. */
static void news(pid_t pid)
{
    sigset_t set;
    siginfo_t info;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    MUST(sigwaitinfo(&set, &info));
    say("SIGCHLD: code %d, of %s, uid %u", info.si_code, info.si_pid == pid ? "the tracee" : "another", info.si_uid);
}

static pid_t message(pid_t pid)
{
    unsigned long message = 0;
    MUST(trace(PTRACE_GETEVENTMSG, pid, 0, (unsigned long)&message));
    return (pid_t)message;
}

static void go_on(pid_t pid, int signal)
{
    MUST(trace(PTRACE_CONT, pid, 0, (unsigned long)signal));
}

/* Itself in a PID namespace below the first one. */
static void tracer(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    MUST(sigprocmask(SIG_BLOCK, &set, NULL));
    fflush(stdout);
    pid_t pid = MUST((pid_t)syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
    if (pid == 0) {
        put_file("/proc/self/uid_map", "0 0 1");
        MUST(trace(PTRACE_TRACEME, 0, 0, 0));
        raise(SIGSTOP);
        body();
    }
    wait_for("start", pid);
    news(pid);
    MUST(trace(PTRACE_SETOPTIONS, pid, 0,
               PTRACE_O_TRACEVFORK | PTRACE_O_TRACEVFORKDONE | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC));
    go_on(pid, 0);
    wait_for("signal", pid);
    news(pid);
    go_on(pid, SIGUSR2);

    wait_for("vfork", pid);
    pid_t child = message(pid);
    go_on(pid, 0);
    wait_for("child", child);
    go_on(child, 0);
    wait_for("child", child);
    wait_for("vfork is done", pid);
    say("of %s", message(pid) == child ? "the child" : "another");
    go_on(pid, 0);

    wait_for("clone", pid);
    pid_t thread = message(pid);
    go_on(pid, 0);
    wait_for("thread", thread);
    go_on(thread, 0);
    wait_for("execve", pid);
    say("by %s", message(pid) == thread ? "the thread" : "another");
    go_on(pid, 0);
    wait_for("end", pid);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return 5;
    fflush(stdout);
    pid_t pid = MUST((pid_t)syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0));
    if (pid == 0) {
        tracer();
        exit(0);
    }
    int status;
    MUST(waitpid(pid, &status, 0));
    show_status("tracer", status);
    return 0;
}
