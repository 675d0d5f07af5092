/* CPU clocks, CPU timers, RLIMIT_CPU. */
//@ timeout=60
#include "check.h"
#include <sys/times.h>

static volatile sig_atomic_t prof, xcpu;
static void on_prof(int signal)
{
    prof++;
}
static void on_xcpu(int signal)
{
    xcpu++;
}
static long cpu_ms(clockid_t clock)
{
    struct timespec t;
    MUST(clock_gettime(clock, &t));
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
static void burn(long ms)
{
    long end = cpu_ms(CLOCK_PROCESS_CPUTIME_ID) + ms;
    do
        for (volatile int i = 0; i < 200000; i++)
            ;
    while (cpu_ms(CLOCK_PROCESS_CPUTIME_ID) < end);
}

int main(void)
{
    long before = cpu_ms(CLOCK_PROCESS_CPUTIME_ID);
    pause_ms(100);
    SHOW(cpu_ms(CLOCK_PROCESS_CPUTIME_ID) - before < 60);
    burn(100);
    SHOW(cpu_ms(CLOCK_THREAD_CPUTIME_ID) >= 100);
    clockid_t clock;
    SHOW(clock_getcpuclockid(getpid(), &clock));
    SHOW(cpu_ms(clock) >= 100);
    SHOW(clock_getcpuclockid(1 << 21, &clock));
    struct rusage r;
    SHOW(getrusage(RUSAGE_SELF, &r));
    SHOW((r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000 + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1000 >= 90);
    struct tms tms;
    WORKS(times(&tms));
    SHOW(tms.tms_utime + tms.tms_stime >= 8);
    /* A child's time counts once it is waited for. */
    pid_t child = MUST(fork());
    if (child == 0) {
        SHOW(cpu_ms(CLOCK_PROCESS_CPUTIME_ID) < 90);
        burn(150);
        _exit(0);
    }
    siginfo_t info;
    MUST(waitid(P_PID, child, &info, WEXITED | WNOWAIT));
    times(&tms);
    SHOW(tms.tms_cutime + tms.tms_cstime);
    MUST(waitpid(child, NULL, 0));
    times(&tms);
    SHOW(tms.tms_cutime + tms.tms_cstime >= 13);
    /* Profiling. */
    signal(SIGPROF, on_prof);
    MUST(setitimer(ITIMER_PROF, &(struct itimerval){{0, 20000}, {0, 20000}}, NULL));
    before = cpu_ms(CLOCK_PROCESS_CPUTIME_ID);
    while (prof < 5)
        ;
    long used = cpu_ms(CLOCK_PROCESS_CPUTIME_ID) - before;
    say("five of 20 ms %d", used >= 70 && used < 600);
    MUST(setitimer(ITIMER_PROF, &(struct itimerval){0}, NULL));
    struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGPROF};
    timer_t t;
    SHOW(timer_create(CLOCK_PROCESS_CPUTIME_ID, &e, &t));
    prof = 0;
    SHOW(timer_settime(t, 0, &(struct itimerspec){{0, 0}, {0, 50000000}}, NULL));
    before = cpu_ms(CLOCK_PROCESS_CPUTIME_ID);
    while (!prof)
        ;
    used = cpu_ms(CLOCK_PROCESS_CPUTIME_ID) - before;
    say("one of 50 ms %d", used >= 40 && used < 500);
    SHOW(timer_create(CLOCK_THREAD_CPUTIME_ID, &e, &t));
    prof = 0;
    SHOW(timer_settime(t, 0, &(struct itimerspec){{0, 0}, {0, 30000000}}, NULL));
    while (!prof)
        ;
    /* Limits: SIGXCPU at the soft one and a second later, SIGKILL at the hard one. */
    fflush(stdout);
    child = MUST(fork());
    if (child == 0) {
        signal(SIGXCPU, on_xcpu);
        struct rlimit l = {1, 2};
        MUST(setrlimit(RLIMIT_CPU, &l));
        while (!xcpu)
            ;
        /* Linux samples at ticks. */
        long at = cpu_ms(CLOCK_PROCESS_CPUTIME_ID);
        say("XCPU after about a second %d", at >= 700 && at < 1600);
        for (;;)
            ;
    }
    int status;
    MUST(waitpid(child, &status, 0));
    show_status("hard limit", status);
    child = MUST(fork());
    if (child == 0) {
        struct rlimit l = {1, RLIM_INFINITY};
        MUST(setrlimit(RLIMIT_CPU, &l));
        for (;;)
            ;
    }
    MUST(waitpid(child, &status, 0));
    show_status("soft limit", status);
    return 0;
}
