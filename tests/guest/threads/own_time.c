/* CPU time of a thread that is the last of several: its own, not its process's. */
#include "check.h"
#include <pthread.h>

static long ms(clockid_t clock)
{
    struct timespec t;
    MUST(clock_gettime(clock, &t));
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void *burn(void *unused)
{
    while (ms(CLOCK_THREAD_CPUTIME_ID) < 300)
        ;
    return NULL;
}

int main(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, burn, NULL);
    pthread_join(thread, NULL);
    say("the process: %d", ms(CLOCK_PROCESS_CPUTIME_ID) >= 300);
    say("this thread: %d", ms(CLOCK_THREAD_CPUTIME_ID) < 200);
    struct rusage r;
    MUST(getrusage(RUSAGE_THREAD, &r));
    say("by getrusage: %d", r.ru_utime.tv_sec == 0 && r.ru_utime.tv_usec < 200000);
    MUST(getrusage(RUSAGE_SELF, &r));
    say("of all: %d", r.ru_utime.tv_sec * 1000000 + r.ru_utime.tv_usec + r.ru_stime.tv_sec * 1000000 + r.ru_stime.tv_usec >= 290000);
    return 0;
}
