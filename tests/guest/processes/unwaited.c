/* What a child used is told to those who waited for it, not to those who ignore SIGCHLD (getrusage(2), times(2)). */
#include "check.h"
#include <sys/times.h>

static void child(void)
{
    if (MUST(fork()) == 0) {
        size_t size = 64 << 20;
        char *at = MUST(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        struct timespec t = {0, 0};
        for (char i = 0; t.tv_sec == 0 && t.tv_nsec < 50000000; i++) {
            memset(at, i, size);
            clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
        }
        _exit(0);
    }
    wait(NULL);
}

static void children(const char *when)
{
    struct rusage r;
    struct tms t;
    MUST(getrusage(RUSAGE_CHILDREN, &r));
    MUST(times(&t));
    say("%s: large %d, time %d, ticks %d", when, r.ru_maxrss > 50 << 10,
        r.ru_utime.tv_sec * 1000000 + r.ru_utime.tv_usec + r.ru_stime.tv_sec * 1000000 + r.ru_stime.tv_usec > 30000,
        t.tms_cutime + t.tms_cstime > 2);
}

int main(void)
{
    children("before");
    signal(SIGCHLD, SIG_IGN);
    child();
    children("ignored");
    struct sigaction a = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT};
    sigaction(SIGCHLD, &a, NULL);
    child();
    children("not waited for");
    signal(SIGCHLD, SIG_DFL);
    child();
    children("waited for");
    return 0;
}
