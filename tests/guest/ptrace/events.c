/* PTRACE_O_TRACE*: fork, vfork, clone, execve and exit, and the children that are attached. */
#include "tracer.h"
#include <pthread.h>

static void *thread(void *p)
{
    return p;
}

static void body(void)
{
    pid_t p = fork();
    if (p == 0)
        _exit(3);
    waitpid(p, NULL, 0);
    p = vfork();
    if (p == 0)
        _exit(4);
    waitpid(p, NULL, 0);
    pthread_t t;
    pthread_create(&t, NULL, thread, NULL);
    pthread_join(t, NULL);
    execl("/proc/self/exe", "events", "again", NULL);
    _exit(99);
}

/* Lets everybody go on until all have ended; `seize` as the main one is. Children are numbered as they come. */
static void follow(pid_t main_one)
{
    pid_t known[16] = {main_one};
    /* Each task's news is deterministic, the order among tasks is not: collected. */
    static char log[16][1024];
    memset(log, 0, sizeof log);
    int n = 1;
    for (;;) {
        int status;
        pid_t p = waitpid(-1, &status, __WALL);
        if (p < 0)
            break;
        int who = 0;
        while (who < n && known[who] != p)
            who++;
        if (who == n)
            known[n++] = p;
        char *line = log[who];
        if (WIFEXITED(status)) {
            sprintf(line + strlen(line), " exited %d", WEXITSTATUS(status));
            continue;
        }
        if (WIFSIGNALED(status)) {
            sprintf(line + strlen(line), " killed %d", WTERMSIG(status));
            continue;
        }
        int event = status >> 16, signal = WSTOPSIG(status);
        unsigned long message = 0;
        if (event) {
            MUST(trace(PTRACE_GETEVENTMSG, p, 0, (unsigned long)&message));
            sprintf(line + strlen(line), "%s", event_name(event));
            if (event == PTRACE_EVENT_EXIT)
                sprintf(line + strlen(line), "(%#lx)", message);
            else if (event == PTRACE_EVENT_EXEC)
                sprintf(line + strlen(line), "(%s)", (pid_t)message == p ? "itself" : "other");
            else if (event != PTRACE_EVENT_STOP && (message == 0 || (pid_t)message == p))
                sprintf(line + strlen(line), "(?)");
            signal = 0;
        } else {
            sprintf(line + strlen(line), " %s", sigabbrev_np(signal));
            if (signal == SIGSTOP || signal == SIGTRAP)
                signal = 0;
        }
        MUST(trace(PTRACE_CONT, p, 0, signal));
    }
    say("main:%s", log[0]);
    for (int i = 1; i < n; i++)
        say("child %d:%s", i, log[i]);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return 5;
    unsigned long all = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC |
                        PTRACE_O_TRACEVFORKDONE | PTRACE_O_TRACEEXIT;
    pid_t pid = start(body);
    say("all");
    SHOW(trace(PTRACE_SETOPTIONS, pid, 0, all));
    MUST(trace(PTRACE_CONT, pid, 0, 0));
    follow(pid);

    pid = start(body);
    say("none: only SIGTRAP after execve, no children");
    MUST(trace(PTRACE_CONT, pid, 0, 0));
    follow(pid);

    pid = start(body);
    say("exit and clone");
    MUST(trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEEXIT | PTRACE_O_TRACECLONE));
    MUST(trace(PTRACE_CONT, pid, 0, 0));
    follow(pid);

    say("seized");
    int gate[2];
    MUST(pipe(gate));
    fflush(stdout);
    pid = MUST(fork());
    if (pid == 0) {
        char c;
        close(gate[1]);
        if (read(gate[0], &c, 1) != 1)
            _exit(98);
        body();
    }
    SHOW(trace(PTRACE_SEIZE, pid, 0, all));
    MUST(write(gate[1], "x", 1));
    follow(pid);
    return 0;
}
