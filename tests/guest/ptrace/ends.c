/* Who is told of an end, and what becomes of the others when a tracer ends. */
#include "tracer.h"
#include <poll.h>
#include <pthread.h>

static pid_t forked(void (*body)(int), int fd)
{
    fflush(stdout);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        body(fd);
        _exit(0);
    }
    return pid;
}

static void sleeper(int fd)
{
    for (;;)
        pause();
}

static pid_t victim;
static unsigned long options;
static int how;

static void tracer(int fd)
{
    MUST(trace(PTRACE_SEIZE, victim, 0, options));
    if (how == 1) {
        MUST(trace(PTRACE_INTERRUPT, victim, 0, 0));
        MUST(waitpid(victim, NULL, __WALL));
    } else if (how == 2) {
        kill(victim, SIGTERM);
        MUST(waitpid(victim, NULL, __WALL));
        MUST(trace(PTRACE_CONT, victim, 0, 0));
    }
    MUST(write(fd, "x", 1));
    if (how != 3)
        _exit(7);
    /* The victim ends: we know first. */
    int status;
    MUST(waitpid(victim, &status, __WALL));
    show_status("tracer", status);
    MUST(write(fd, "y", 1));
}

static void round_of(const char *name, unsigned long o, int h)
{
    say("%s", name);
    int fd[2];
    char c = 0;
    MUST(pipe(fd));
    options = o;
    how = h;
    victim = forked(sleeper, 0);
    pid_t t = forked(tracer, fd[1]);
    MUST(read(fd[0], &c, 1));
    if (h == 3) {
        kill(victim, SIGKILL);
        MUST(read(fd[0], &c, 1));
        say("after the tracer's %c", c);
        wait_for("parent", victim);
        wait_for("tracer", t);
    } else {
        wait_for("tracer", t);
        if (!(o & PTRACE_O_EXITKILL)) {
            SHOW(waitpid(victim, NULL, WNOHANG | WUNTRACED));
            kill(victim, SIGINT);
        }
        wait_for("victim", victim);
    }
    close(fd[0]);
    close(fd[1]);
}

static void *thread(void *p)
{
    static char c;
    MUST(read(*(int *)p, &c, 1));
    return NULL;
}

/* A process of two threads whose second one is traced from elsewhere. */
static void waits(void)
{
    say("waitid");
    pid_t pid = start((void (*)(void))sleeper);
    siginfo_t i;
    memset(&i, 0, sizeof i);
    kill(pid, SIGUSR1);
    MUST(trace(PTRACE_CONT, pid, 0, 0));
    SHOW(waitid(P_PID, pid, &i, WSTOPPED | WNOWAIT));
    say("code %d status %d mine %d", i.si_code, i.si_status, i.si_pid == pid);
    memset(&i, 0, sizeof i);
    /* A tracee's stop is told whatever is asked for. */
    SHOW(waitid(P_ALL, 0, &i, WEXITED));
    say("code %d status %d", i.si_code, i.si_status);
    memset(&i, 0, sizeof i);
    SHOW(waitid(P_PID, pid, &i, WSTOPPED | WNOHANG));
    say("pid %d", i.si_pid);
    MUST(trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEEXIT | PTRACE_O_TRACESYSGOOD));
    MUST(trace(PTRACE_SYSCALL, pid, 0, 0));
    SHOW(waitid(P_PGID, getpgrp(), &i, WSTOPPED));
    say("code %d status %#x", i.si_code, i.si_status);
    kill(pid, SIGKILL);
    SHOW(waitid(P_PID, pid, &i, WSTOPPED | WEXITED));
    say("code %d status %#x", i.si_code, i.si_status);
    if (i.si_code == CLD_TRAPPED) {
        MUST(trace(PTRACE_CONT, pid, 0, 0));
        SHOW(waitid(P_PID, pid, &i, WEXITED));
        say("code %d status %#x", i.si_code, i.si_status);
    }
    SHOW(waitpid(-1, NULL, __WALL));
}

static void one_thread(void)
{
    say("a thread of a child");
    int fd[2], told[2];
    MUST(pipe(fd));
    MUST(pipe(told));
    fflush(stdout);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        pthread_t t;
        pthread_create(&t, NULL, thread, &fd[0]);
        char name[64];
        int tid = 0;
        /* The second thread's id: the next one. */
        for (tid = getpid() + 1; tid < getpid() + 1000; tid++) {
            sprintf(name, "/proc/self/task/%d", tid);
            if (access(name, F_OK) == 0)
                break;
        }
        MUST(write(told[1], &tid, sizeof tid));
        pthread_join(t, NULL);
        pause_ms(100); /* it ends a moment after it is joined */
        _exit(6);
    }
    int tid;
    MUST(read(told[0], &tid, sizeof tid));
    SHOW(trace(PTRACE_SEIZE, tid, 0, 0));
    SHOW(trace(PTRACE_CONT, pid, 0, 0));
    SHOW(waitpid(tid, NULL, WNOHANG));
    SHOW(trace(PTRACE_INTERRUPT, tid, 0, 0));
    wait_for("thread", tid);
    MUST(trace(PTRACE_CONT, tid, 0, 0));
    MUST(write(fd[1], "x", 1));
    wait_for("thread", tid);
    wait_for("process", pid);
    SHOW(waitpid(-1, NULL, __WALL));
}

/* SIGCHLD says what happened to a tracee. */
static void news(void)
{
    say("SIGCHLD");
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    pid_t pid = forked(sleeper, 0);
    MUST(trace(PTRACE_ATTACH, pid, 0, 0));
    siginfo_t i;
    struct timespec t = {5, 0};
    SHOW(sigtimedwait(&set, &i, &t));
    say("code %d status %d", i.si_code, i.si_status);
    wait_for("attached", pid);
    MUST(trace(PTRACE_CONT, pid, 0, SIGSTOP));
    SHOW(sigtimedwait(&set, &i, &t));
    say("code %d status %d", i.si_code, i.si_status);
    wait_for("stopped", pid);
    kill(pid, SIGKILL);
    SHOW(sigtimedwait(&set, &i, &t));
    say("code %d status %d", i.si_code, i.si_status);
    wait_for("killed", pid);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

int main(void)
{
    signal(SIGINT, SIG_DFL); /* whoever runs this may ignore it */
    round_of("tracer ends, tracee runs", 0, 0);
    round_of("tracer ends, tracee stands", 0, 1);
    round_of("tracer ends, with EXITKILL", PTRACE_O_EXITKILL, 0);
    round_of("tracer ends, with EXITKILL, tracee stands", PTRACE_O_EXITKILL, 1);
    round_of("tracer suppressed the signal and ended", 0, 2);
    round_of("tracee ends", 0, 3);
    waits();
    one_thread();
    news();
    return 0;
}
