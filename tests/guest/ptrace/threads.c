/* Tracees with several threads: all stopped and looked at, one calls execve, private futexes, and a seccomp filter that asks. */
#include "tracer.h"
#include <dirent.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static volatile int go;

static void *waits(void *p)
{
    pthread_mutex_lock(&mutex);
    while (!go)
        pthread_cond_wait(&cond, &mutex);
    pthread_mutex_unlock(&mutex);
    return NULL;
}

static void *computes(void *p)
{
    while (!go)
        ;
    return NULL;
}

static int threads_of(pid_t pid, pid_t *tids)
{
    char name[64];
    sprintf(name, "/proc/%d/task", pid);
    DIR *d = opendir(name);
    int n = 0;
    for (struct dirent *e; (e = readdir(d));)
        if (atoi(e->d_name) > 0 && n < 16)
            tids[n++] = atoi(e->d_name);
    closedir(d);
    return n;
}

static void all_stopped(void)
{
    say("all threads");
    int ready[2];
    MUST(pipe(ready));
    fflush(stdout);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        pthread_t t[4];
        for (int i = 0; i < 4; i++)
            pthread_create(&t[i], NULL, i < 3 ? waits : computes, NULL);
        pause_ms(50);
        MUST(write(ready[1], "x", 1));
        while (!go)
            pause_ms(10);
        pthread_mutex_lock(&mutex);
        pthread_cond_broadcast(&cond);
        pthread_mutex_unlock(&mutex);
        for (int i = 0; i < 4; i++)
            pthread_join(t[i], NULL);
        pause_ms(50);
        _exit(9);
    }
    char c;
    MUST(read(ready[0], &c, 1));
    pid_t tids[16];
    int n = threads_of(pid, tids);
    say("%d threads", n);
    for (int i = 0; i < n; i++)
        MUST(trace(PTRACE_SEIZE, tids[i], 0, 0));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < n; i++)
            MUST(trace(PTRACE_INTERRUPT, tids[i], 0, 0));
        int stopped = 0;
        for (int i = 0; i < n; i++) {
            int status;
            MUST(waitpid(tids[i], &status, __WALL));
            stopped += status == (SIGTRAP << 8 | 0x7f | PTRACE_EVENT_STOP << 16);
            (void)registers(tids[i]);
        }
        say("%d stopped, go is %d", stopped, (int)peek(pid, (void *)&go));
        if (round == 2) {
            unsigned long word = peek(pid, (void *)&go);
            MUST(trace(PTRACE_POKEDATA, pid, (unsigned long)&go, (word & ~0xfffffffful) | 1));
        }
        for (int i = 0; i < n; i++)
            MUST(trace(PTRACE_CONT, tids[i], 0, 0));
    }
    int ended = 0;
    for (;;) {
        int status;
        pid_t p = waitpid(-1, &status, __WALL);
        if (p < 0)
            break;
        ended++;
        if (p == pid)
            show_status("process", status);
        else if (!WIFEXITED(status))
            say("thread: %#x", status);
    }
    say("%d ended", ended);
}

static char *self[] = {"threads", "again", NULL};

static void *executes(void *p)
{
    pause_ms(100); /* the others have stopped for being attached */
    execv("/proc/self/exe", self);
    return NULL;
}

/* execve by a thread that is not the leader. */
static void exec_by_thread(void)
{
    say("execve by a thread");
    fflush(stdout);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        MUST(trace(PTRACE_TRACEME, 0, 0, 0));
        raise(SIGSTOP);
        pthread_t t[3];
        for (int i = 0; i < 2; i++)
            pthread_create(&t[i], NULL, waits, NULL);
        pthread_create(&t[2], NULL, executes, NULL);
        for (;;)
            pause();
    }
    wait_for("start", pid);
    MUST(trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL));
    MUST(trace(PTRACE_CONT, pid, 0, 0));
    int clones = 0, exits = 0, execs = 0, other = 0;
    for (;;) {
        int status;
        pid_t p = waitpid(-1, &status, __WALL);
        if (p < 0)
            break;
        unsigned long message = 0;
        if (WIFEXITED(status) && p == pid) {
            show_status("process", status);
            break;
        }
        if (!WIFSTOPPED(status)) {
            exits++;
            continue;
        }
        switch (status >> 16) {
        case PTRACE_EVENT_CLONE:
            clones++;
            break;
        case PTRACE_EVENT_EXEC:
            MUST(trace(PTRACE_GETEVENTMSG, p, 0, (unsigned long)&message));
            execs += p == pid && (pid_t)message != pid;
            break;
        default:
            other += WSTOPSIG(status) == SIGSTOP;
        }
        MUST(trace(PTRACE_CONT, p, 0, 0));
    }
    say("clones %d, threads ended %d, execs %d, attached %d", clones, exits, execs, other);
}

static void filtered(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE | 42),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {4, code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
    for (int i = 0; i < 3; i++) {
        long r = syscall(SYS_getppid);
        say("  getppid %s", r == -1 ? strerrorname_np(errno) : r == 4711 ? "4711" : "a pid");
    }
}

static void asks(void)
{
    say("a filter that asks");
    pid_t pid = start(filtered);
    MUST(trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESECCOMP));
    for (int i = 0; i < 3; i++) {
        MUST(trace(PTRACE_CONT, pid, 0, 0));
        wait_for("asked", pid);
        struct __ptrace_syscall_info info;
        unsigned long message = 0;
        MUST(trace(PTRACE_GETEVENTMSG, pid, 0, (unsigned long)&message));
        MUST(trace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, (unsigned long)&info));
        say("message %lu op %d nr %ld data %u", message, info.op, (long)info.seccomp.nr, info.seccomp.ret_data);
        struct user_regs_struct r = registers(pid);
        if (i == 0) {
            r.orig_rax = -1;
            r.rax = 4711;
        } else if (i == 1)
            r.orig_rax = SYS_gettid;
        MUST(trace(PTRACE_SETREGS, pid, 0, (unsigned long)&r));
    }
    MUST(trace(PTRACE_DETACH, pid, 0, 0));
    wait_for("end", pid);
    say("and nobody answers");
    pid = start(filtered);
    MUST(trace(PTRACE_CONT, pid, 0, 0));
    wait_for("end", pid);
}

static void handler(int n)
{
}

static void signals_itself(void)
{
    signal(SIGUSR1, handler);
    raise(SIGUSR1);
}

static void step_into_handler(void)
{
    say("a step into a handler");
    pid_t pid = start(signals_itself);
    MUST(trace(PTRACE_CONT, pid, 0, 0));
    wait_for("signal", pid);
    MUST(trace(PTRACE_SINGLESTEP, pid, 0, SIGUSR1));
    wait_for("step", pid);
    siginfo_t i;
    MUST(trace(PTRACE_GETSIGINFO, pid, 0, (unsigned long)&i));
    say("at the handler %d code %d", registers(pid).rip == (unsigned long)handler, i.si_code);
    MUST(trace(PTRACE_SINGLESTEP, pid, 0, 0));
    wait_for("step", pid);
    say("in it %d", registers(pid).rip != (unsigned long)handler);
    MUST(trace(PTRACE_CONT, pid, 0, 0));
    wait_for("end", pid);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return 8;
    all_stopped();
    exec_by_thread();
    asks();
    step_into_handler();
    return 0;
}
