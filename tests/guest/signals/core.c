/* What the wait status says of a core dump. */
#include "check.h"
#include <sys/prctl.h>

static void die(const char *what, int signal, int limit, int dumpable)
{
    fflush(stdout);
    pid_t child = MUST(fork());
    if (child == 0) {
        struct rlimit l;
        getrlimit(RLIMIT_CORE, &l);
        l.rlim_cur = limit ? l.rlim_max : 0;
        MUST(setrlimit(RLIMIT_CORE, &l));
        prctl(PR_SET_DUMPABLE, dumpable);
        raise(signal);
    }
    int status;
    MUST(waitpid(child, &status, 0));
    say("%s: signal %d core %d", what, WTERMSIG(status), !!WCOREDUMP(status));
}

int main(void)
{
    die("no limit for core files", SIGSEGV, 0, 1);
    die("a signal without core", SIGTERM, 1, 1);
    die("not dumpable", SIGABRT, 1, 0);
    return 0;
}
