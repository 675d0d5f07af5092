/* RLIMIT_NPROC counts the tasks of a real user; root is exempt. */
//@ root=only
#include "check.h"
#include <grp.h>
#include <pthread.h>

static void one(const char *who)
{
    pid_t p = fork();
    if (p == 0)
        _exit(0);
    if (p < 0)
        say("%s: %s", who, strerrorname_np(errno));
    else if (waitpid(p, NULL, 0) == p)
        say("%s: works", who);
}

static void *nothing(void *unused)
{
    return unused;
}

int main(void)
{
    struct rlimit l = {1, 2};
    MUST(setrlimit(RLIMIT_NPROC, &l));
    one("root, limit 1");
    if (MUST(fork()) == 0) {
        l.rlim_cur = l.rlim_max = 2;
        MUST(setrlimit(RLIMIT_NPROC, &l));
        MUST(setgroups(0, NULL));
        /* A user that no other test counts as. */
        uid_t u = 100000 + getpid();
        MUST(setresuid(u, u, u));
        one("user, limit 2");
        pid_t sleeper = MUST(fork());
        if (sleeper == 0)
            pause();
        one("user, limit 2, with a child");
        pthread_t t;
        say("thread: %s", strerrorname_np(pthread_create(&t, NULL, nothing, NULL)));
        MUST(kill(sleeper, SIGKILL));
        MUST(waitpid(sleeper, NULL, 0));
        one("user, limit 2, without");
        _exit(0);
    }
    MUST(wait(NULL));
    return 0;
}
