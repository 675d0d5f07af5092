/* Tracers that die in every stop, race with each other and with execve, trace each other, or never wait. Whatever comes of each,
 * everybody ends. */
//@ timeout=120
#include "tracer.h"
#include <pthread.h>
#include <sys/prctl.h>

static void busy(void)
{
    for (int i = 0;; i++) {
        getppid();
        if (i % 64 == 0) {
            pid_t p = fork();
            if (p == 0)
                _exit(0);
            waitpid(p, NULL, 0);
        }
        if (i % 100 == 0)
            raise(SIGCHLD);
    }
}

static pid_t forked(void (*body)(void))
{
    fflush(stdout);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        body();
        _exit(0);
    }
    return pid;
}

static void end(pid_t pid)
{
    int status;
    kill(pid, SIGKILL);
    while (waitpid(pid, &status, __WALL) > 0)
        if (!WIFSTOPPED(status))
            return;
}

static const unsigned long all = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC |
                                 PTRACE_O_TRACEVFORKDONE | PTRACE_O_TRACEEXIT | PTRACE_O_TRACESYSGOOD;

/* Follows the victim for `stops` stops, then ends without a word. */
static void follow(pid_t victim, int stops, int request)
{
    if (trace(PTRACE_SEIZE, victim, 0, all) < 0)
        return;
    trace(PTRACE_INTERRUPT, victim, 0, 0);
    while (stops-- > 0) {
        int status;
        pid_t p = waitpid(-1, &status, __WALL);
        if (p < 0)
            return;
        if (stops > 0 && WIFSTOPPED(status))
            trace(request, p, 0, status >> 16 || WSTOPSIG(status) == (SIGTRAP | 0x80) ? 0 : WSTOPSIG(status));
    }
}

static void dying_tracers(void)
{
    pid_t victim = forked(busy);
    static const int requests[] = {PTRACE_SYSCALL, PTRACE_CONT, PTRACE_SINGLESTEP};
    for (int stops = 0; stops < 24; stops++)
        for (int r = 0; r < 3; r++) {
            pid_t t = MUST(fork());
            if (t == 0) {
                alarm(2);
                follow(victim, stops, requests[r]);
                _exit(0);
            }
            waitpid(t, NULL, 0);
        }
    say("victim lives: %d", kill(victim, 0) == 0);
    end(victim);
}

static void racing_tracers(void)
{
    pid_t victim = forked(busy), t[3];
    for (int i = 0; i < 3; i++) {
        t[i] = MUST(fork());
        if (t[i] == 0) {
            alarm(10);
            for (int n = 0; n < 60; n++) {
                if (trace(n & 1 ? PTRACE_SEIZE : PTRACE_ATTACH, victim, 0, 0) < 0) {
                    sched_yield();
                    continue;
                }
                if (n & 1)
                    trace(PTRACE_INTERRUPT, victim, 0, 0);
                int status;
                waitpid(victim, &status, __WALL);
                trace(PTRACE_DETACH, victim, 0, 0);
            }
            _exit(0);
        }
    }
    for (int i = 0; i < 3; i++)
        waitpid(t[i], NULL, 0);
    end(victim);
    say("raced");
}

static void killed_in_stops(void)
{
    for (int stops = 1; stops < 20; stops++) {
        pid_t t = MUST(fork());
        if (t == 0) {
            alarm(2);
            pid_t victim = forked(busy);
            if (trace(PTRACE_SEIZE, victim, 0, (all & ~PTRACE_O_TRACEEXIT) | PTRACE_O_EXITKILL) < 0)
                _exit(1);
            trace(PTRACE_INTERRUPT, victim, 0, 0);
            for (int n = 0; n < stops; n++) {
                int status;
                pid_t p = waitpid(-1, &status, __WALL);
                if (p > 0 && WIFSTOPPED(status) && n + 1 < stops)
                    trace(PTRACE_SYSCALL, p, 0, 0);
            }
            kill(victim, SIGKILL);
            /* And requests to one that is dying. */
            trace(PTRACE_CONT, victim, 0, 0);
            trace(PTRACE_POKEDATA, victim, (unsigned long)&all, 0);
            trace(PTRACE_DETACH, victim, 0, 0);
            _exit(0);
        }
        waitpid(t, NULL, 0);
    }
    say("killed");
}

static void cycle(void)
{
    pid_t a = forked(busy), b = MUST(fork());
    if (b == 0) {
        trace(PTRACE_SEIZE, a, 0, 0);
        for (;;)
            pause();
    }
    /* One of them traces the other already; both by a third one, and each other. */
    pause_ms(20);
    trace(PTRACE_SEIZE, b, 0, 0);
    trace(PTRACE_INTERRUPT, b, 0, 0);
    int status;
    waitpid(b, &status, __WALL);
    end(b);
    end(a);
    /* A tracee that traces its tracer. */
    fflush(stdout);
    pid_t c = MUST(fork());
    if (c == 0) {
        alarm(2);
        pid_t d = MUST(fork());
        if (d == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            trace(PTRACE_TRACEME, 0, 0, 0);
            trace(PTRACE_SEIZE, getppid(), 0, 0);
            trace(PTRACE_INTERRUPT, getppid(), 0, 0);
            raise(SIGSTOP);
            _exit(0);
        }
        waitpid(d, &status, 0);
        pause_ms(20);
        for (;;)
            pause();
    }
    pause_ms(50);
    end(c);
    say("untangled");
}

static void never_waits(void)
{
    pid_t t = MUST(fork());
    if (t == 0) {
        for (int i = 0; i < 10; i++) {
            pid_t v = fork();
            if (v == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                trace(PTRACE_TRACEME, 0, 0, 0);
                raise(SIGSTOP);
                _exit(0);
            }
        }
        pause_ms(50);
        _exit(0);
    }
    waitpid(t, NULL, 0);
    say("left");
}

static char *self[] = {"races", "again", NULL};
static void *executes(void *p)
{
    execv("/proc/self/exe", self);
    return NULL;
}

static void exec_races(void)
{
    for (int i = 0; i < 15; i++) {
        fflush(stdout);
        pid_t v = MUST(fork());
        if (v == 0) {
            pthread_t t;
            pthread_create(&t, NULL, executes, NULL);
            for (;;)
                getppid();
        }
        if (i % 3)
            pause_ms(i % 5);
        int status;
        if (trace(i & 1 ? PTRACE_SEIZE : PTRACE_ATTACH, v, 0, i & 1 ? PTRACE_O_TRACEEXEC : 0) == 0) {
            for (int n = 0; n < 50; n++) {
                trace(PTRACE_INTERRUPT, v, 0, 0);
                /* Written as it was: what is executed must know itself by its arguments. */
                long word;
                if (trace(PTRACE_PEEKDATA, v, (unsigned long)&self, (unsigned long)&word) == 0)
                    trace(PTRACE_POKEDATA, v, (unsigned long)&self, word);
                struct user_regs_struct r;
                trace(PTRACE_GETREGS, v, 0, (unsigned long)&r);
                if (waitpid(v, &status, __WALL | WNOHANG) == v && WIFSTOPPED(status))
                    trace(n & 1 ? PTRACE_CONT : PTRACE_SYSCALL, v, 0, 0);
            }
        }
        end(v);
    }
    say("executed");
}

int main(int argc, char **argv)
{
    if (argc > 1)
        for (;;)
            getppid();
    dying_tracers();
    racing_tracers();
    killed_in_stops();
    cycle();
    never_waits();
    exec_races();
    return 0;
}
