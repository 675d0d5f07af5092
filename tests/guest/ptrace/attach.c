/* PTRACE_ATTACH, SEIZE, INTERRUPT, LISTEN, DETACH, group stops, and who may not. */
#include "tracer.h"
#include <sys/prctl.h>

static char state(pid_t pid)
{
    char name[64], buffer[512];
    sprintf(name, "/proc/%d/stat", pid);
    int fd = MUST(open(name, O_RDONLY));
    ssize_t n = MUST(read(fd, buffer, sizeof buffer - 1));
    close(fd);
    buffer[n] = 0;
    return strrchr(buffer, ')')[2];
}

static int tracer_of(pid_t pid)
{
    char name[64], buffer[4096];
    sprintf(name, "/proc/%d/status", pid);
    int fd = MUST(open(name, O_RDONLY));
    ssize_t n = MUST(read(fd, buffer, sizeof buffer - 1));
    close(fd);
    buffer[n] = 0;
    return atoi(strstr(buffer, "TracerPid:") + 10);
}

static pid_t sleeper(void)
{
    fflush(stdout);
    pid_t pid = MUST(fork());
    if (pid == 0)
        for (;;)
            pause();
    while (state(pid) != 'S')
        sched_yield();
    return pid;
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    wait_for("end", pid);
}

static void wait_state(pid_t pid, char s)
{
    for (int i = 0; i < 5000 && state(pid) != s; i++)
        pause_ms(1);
    say("state %c", state(pid));
}

int main(void)
{
    pid_t pid = sleeper();
    say("attach");
    SHOW(trace(PTRACE_ATTACH, pid, 0, 0));
    wait_for("attached", pid);
    say("tracer is me: %d, state %c", tracer_of(pid) == getpid(), state(pid));
    SHOW(trace(PTRACE_ATTACH, pid, 0, 0));
    SHOW(trace(PTRACE_SEIZE, pid, 0, 0));
    SHOW(trace(PTRACE_INTERRUPT, pid, 0, 0));
    SHOW(trace(PTRACE_LISTEN, pid, 0, 0));
    SHOW(trace(PTRACE_CONT, pid, 0, 0));
    wait_state(pid, 'S');
    SHOW(trace(PTRACE_CONT, pid, 0, 0)); /* it runs: ESRCH */
    SHOW(trace(PTRACE_DETACH, pid, 0, 0));
    kill(pid, SIGUSR1);
    wait_for("signal", pid);
    SHOW(trace(PTRACE_DETACH, pid, 0, 0));
    say("tracer: %d", tracer_of(pid));
    wait_state(pid, 'S');
    end(pid);

    say("seize, interrupt, listen");
    pid = sleeper();
    SHOW(trace(PTRACE_SEIZE, pid, 1, 0));
    SHOW(trace(PTRACE_SEIZE, pid, 0, 1 << 19));
    SHOW(trace(PTRACE_SEIZE, pid, 0, 0));
    say("state %c", state(pid));
    int status;
    SHOW(waitpid(pid, &status, WNOHANG | __WALL));
    SHOW(trace(PTRACE_CONT, pid, 0, 0));
    SHOW(trace(PTRACE_INTERRUPT, pid, 0, 0));
    wait_for("interrupted", pid);
    siginfo_t i;
    MUST(trace(PTRACE_GETSIGINFO, pid, 0, (unsigned long)&i));
    say("siginfo %d %#x, rax %lld", i.si_signo, i.si_code, (long long)registers(pid).rax);
    SHOW(trace(PTRACE_CONT, pid, 0, 0));
    kill(pid, SIGSTOP);
    wait_for("stop signal", pid);
    MUST(trace(PTRACE_CONT, pid, 0, SIGSTOP));
    wait_for("group stop", pid);
    SHOW(trace(PTRACE_LISTEN, pid, 0, 0));
    SHOW(trace(PTRACE_CONT, pid, 0, 0)); /* listening: ESRCH */
    say("state %c", state(pid));
    kill(pid, SIGCONT);
    wait_for("continued", pid);
    MUST(trace(PTRACE_CONT, pid, 0, 0));
    wait_for("cont signal", pid);
    MUST(trace(PTRACE_CONT, pid, 0, SIGCONT));
    kill(pid, SIGSTOP);
    wait_for("stop signal", pid);
    MUST(trace(PTRACE_CONT, pid, 0, SIGSTOP));
    wait_for("group stop", pid);
    MUST(trace(PTRACE_LISTEN, pid, 0, 0));
    SHOW(trace(PTRACE_INTERRUPT, pid, 0, 0));
    wait_for("interrupted", pid);
    SHOW(trace(PTRACE_DETACH, pid, 0, 0));
    wait_state(pid, 'T');
    end(pid);

    say("a stopped one");
    pid = sleeper();
    kill(pid, SIGSTOP);
    waitpid(pid, &status, WUNTRACED);
    SHOW(trace(PTRACE_SEIZE, pid, 0, 0));
    wait_for("seized", pid);
    MUST(trace(PTRACE_CONT, pid, 0, 0));
    wait_state(pid, 'S');
    end(pid);

    say("group stop of one that asked");
    pid = sleeper();
    MUST(trace(PTRACE_ATTACH, pid, 0, 0));
    wait_for("attached", pid);
    MUST(trace(PTRACE_CONT, pid, 0, SIGSTOP));
    wait_for("group stop", pid);
    SHOW(trace(PTRACE_GETSIGINFO, pid, 0, (unsigned long)&i));
    say("state %c", state(pid));
    MUST(trace(PTRACE_CONT, pid, 0, 0));
    wait_state(pid, 'S');
    end(pid);

    say("refused");
    SHOW(trace(PTRACE_ATTACH, getpid(), 0, 0));
    SHOW(trace(PTRACE_ATTACH, 0, 0, 0));
    SHOW(trace(PTRACE_ATTACH, 1 << 22, 0, 0));
    SHOW(trace(PTRACE_SEIZE, 1 << 22, 0, 0));
    SHOW(trace(PTRACE_CONT, 1, 0, 0));
    SHOW(trace(99, getpid(), 0, 0));
    pid = sleeper();
    SHOW(trace(PTRACE_PEEKDATA, pid, 0, 0));
    SHOW(trace(PTRACE_INTERRUPT, pid, 0, 0));
    MUST(trace(PTRACE_ATTACH, pid, 0, 0));
    wait_for("attached", pid);
    SHOW(trace(99, pid, 0, 0));
    SHOW(trace(PTRACE_SETOPTIONS, pid, 0, 1 << 19));
    SHOW(trace(PTRACE_CONT, pid, 0, 65));
    SHOW(trace(PTRACE_DETACH, pid, 0, -1));
    SHOW(trace(PTRACE_PEEKDATA, pid, 8, (unsigned long)&i));
    SHOW(trace(PTRACE_POKEDATA, pid, 8, 0));
    SHOW(trace(PTRACE_PEEKUSER, pid, 3, (unsigned long)&i));
    SHOW(trace(PTRACE_PEEKUSER, pid, 1 << 20, (unsigned long)&i));
    SHOW(trace(PTRACE_GETREGS, pid, 0, 8));
    SHOW(trace(PTRACE_GETREGSET, pid, 77, (unsigned long)&(struct iovec){&i, 8}));
    SHOW(trace(PTRACE_GETREGSET, pid, 1, (unsigned long)&(struct iovec){&i, 7}));
    /* Not the tracer: another process. */
    fflush(stdout);
    pid_t other = MUST(fork());
    if (other == 0) {
        SHOW(trace(PTRACE_CONT, pid, 0, 0));
        SHOW(trace(PTRACE_ATTACH, pid, 0, 0));
        SHOW(trace(PTRACE_TRACEME, 0, 0, 0));
        SHOW(trace(PTRACE_TRACEME, 0, 0, 0));
        _exit(0);
    }
    wait_for("other", other);
    end(pid);

    say("a zombie");
    fflush(stdout);
    pid = MUST(fork());
    if (pid == 0)
        _exit(1);
    wait_state(pid, 'Z');
    SHOW(trace(PTRACE_ATTACH, pid, 0, 0));
    waitpid(pid, NULL, 0);

    say("other users");
    if (geteuid() == 0) {
        fflush(stdout);
        pid = MUST(fork());
        if (pid == 0) {
            MUST(setresgid(1000, 1000, 1000));
            MUST(setresuid(1000, 1000, 1000));
            pid_t child = sleeper();
            SHOW(trace(PTRACE_ATTACH, getppid(), 0, 0));
            SHOW(trace(PTRACE_ATTACH, child, 0, 0)); /* setresuid made it not dumpable */
            prctl(PR_SET_DUMPABLE, 1);
            pid_t dumpable = sleeper();
            SHOW(trace(PTRACE_ATTACH, dumpable, 0, 0));
            wait_for("dumpable", dumpable);
            kill(child, SIGKILL);
            kill(dumpable, SIGKILL);
            _exit(0);
        }
        wait_for("user", pid);
    }
    return 0;
}
