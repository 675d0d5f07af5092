/* getppid(2), which may be answered without the kernel's help: after the parent's end it must be another one at once, in each thread, and whoever is told
 * of that end (PR_SET_PDEATHSIG, waitpid by the new parent) must know the new one. */
#include "../check.h"
#include <pthread.h>
#include <sys/prctl.h>

static pid_t heir, before;
static volatile sig_atomic_t told;

/* Often enough that call sites are rewritten. */
static pid_t parent(void)
{
    pid_t first = getppid();
    for (int i = 0; i < 200; i++)
        if (getppid() != first || syscall(SYS_getppid) != first)
            say("getppid changes");
    return first;
}

static const char *who(pid_t pid)
{
    return pid == heir ? "heir" : pid == before ? "parent" : "somebody else";
}

static void on_death(int signal)
{
    told = getppid() == heir ? 1 : 2;
}

static const char *volatile at_first, *volatile afterwards;

static void *thread(void *unused)
{
    at_first = who(parent());
    while (!told)
        usleep(100);
    afterwards = who(parent());
    return NULL;
}

static void orphan(int go, int on)
{
    char c;
    pthread_t t;
    before = getppid();
    say("at first: %s", who(parent()));
    signal(SIGUSR1, on_death);
    prctl(PR_SET_PDEATHSIG, SIGUSR1);
    pthread_create(&t, NULL, thread, NULL);
    while (!at_first)
        usleep(100);
    MUST(write(go, "x", 1));
    /* Answers change in the middle of a loop that does nothing else. */
    while (getppid() == before)
        ;
    const char *then = who(getppid());
    pthread_join(t, NULL);
    MUST(read(on, &c, 1));
    say("then: %s; thread: %s, %s", then, at_first, afterwards);
    say("the handler saw %s", told == 1 ? "the heir" : "another one");
    pid_t own = getpid(), child = fork();
    if (child == 0) {
        say("forked: %d", parent() == own);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    _exit(7);
}

int main(void)
{
    heir = getpid();
    MUST(prctl(PR_SET_CHILD_SUBREAPER, 1));
    for (int round = 0; round < 20; round++) {
        int go[2], on[2];
        MUST(pipe(go));
        MUST(pipe(on));
        fflush(stdout);
        pid_t child = MUST(fork());
        if (child == 0) {
            char c;
            if (MUST(fork()) == 0)
                orphan(go[1], on[0]);
            MUST(read(go[0], &c, 1));
            _exit(3);
        }
        for (int i = 0; i < 2; i++) {
            int status;
            pid_t dead = MUST(wait(&status));
            say("%s ended: %d", dead == child ? "child" : "orphan", WEXITSTATUS(status));
            MUST(write(on[1], "x", 1));
        }
        close(go[0]);
        close(go[1]);
        close(on[0]);
        close(on[1]);
    }
    return 0;
}
