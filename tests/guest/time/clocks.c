/* Clocks, sleeps, timerfd, POSIX timers. */
#include "check.h"
#include <sys/timerfd.h>
#include <sys/times.h>

static volatile sig_atomic_t fired;
static void note(int signal, siginfo_t *info, void *context)
{
    fired += info->si_code == SI_TIMER && info->si_value.sival_int == 77;
}

static int after(long start, long least, long most)
{
    long passed = now_ms() - start;
    if (passed < least || passed > most)
        say("took %ld ms, not %ld to %ld", passed, least, most);
    return passed >= least && passed <= most;
}

int main(void)
{
    struct timespec t, u;
    for (int clock = 0; clock <= 11; clock++)
        say("clock %d: get %d, resolution %d", clock, clock_gettime(clock, &t), clock_getres(clock, &u));
    SHOW(clock_gettime(50, &t));
    SHOW(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t));
    clock_gettime(CLOCK_MONOTONIC, &u);
    SHOW(u.tv_sec - t.tv_sec <= 1 && (u.tv_sec > t.tv_sec || u.tv_nsec >= t.tv_nsec));
    SHOW(labs(time(NULL) - (clock_gettime(CLOCK_REALTIME, &t), t.tv_sec)) <= 1);
    SHOW(clock_settime(CLOCK_MONOTONIC, &t));
    long start = now_ms();
    SHOW(usleep(50000));
    SHOW(after(start, 50, 5000));
    SHOW(nanosleep(&(struct timespec){0, 1000000000}, NULL));
    SHOW(nanosleep(&(struct timespec){-1, 0}, NULL));
    start = now_ms();
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec -= 5;
    SHOW(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL));
    t.tv_sec += 5;
    t.tv_nsec += 60000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    SHOW(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL));
    SHOW(after(start, 60, 5000));
    SHOW(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &(struct timespec){0, 1}, NULL));

    uint64_t ticks;
    int fd = MUST(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    SHOW(read(fd, &ticks, 8));
    struct itimerspec every = {{0, 20000000}, {0, 20000000}}, old;
    SHOW(timerfd_settime(fd, 0, &every, NULL));
    struct pollfd p = {fd, POLLIN, 0};
    SHOW(poll(&p, 1, 2000));
    pause_ms(100);
    SHOW(read(fd, &ticks, 8));
    SHOW(ticks >= 4);
    SHOW(read(fd, &ticks, 4));
    SHOW(timerfd_gettime(fd, &old));
    SHOW(old.it_interval.tv_nsec);
    SHOW(timerfd_settime(fd, 0, &(struct itimerspec){0}, &old));
    SHOW(poll(&p, 1, 60));
    SHOW(timerfd_create(99, 0));
    SHOW(timerfd_settime(fd, 0, &(struct itimerspec){{0, 0}, {0, -1}}, NULL));

    struct sigaction a = {.sa_sigaction = note, .sa_flags = SA_SIGINFO};
    sigaction(SIGRTMIN, &a, NULL);
    struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 77};
    timer_t timer;
    SHOW(timer_create(CLOCK_MONOTONIC, &e, &timer));
    every = (struct itimerspec){{0, 10000000}, {0, 10000000}};
    SHOW(timer_settime(timer, 0, &every, NULL));
    while (fired < 3)
        pause_ms(5);
    SHOW(timer_getoverrun(timer) >= 0);
    SHOW(timer_delete(timer));
    SHOW(timer_gettime(timer, &old));
    struct tms tms;
    WORKS(times(&tms));
    struct timeval v;
    SHOW(gettimeofday(&v, NULL));
    return 0;
}
