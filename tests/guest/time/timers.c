/* Interval timers, POSIX timers and timerfds in detail. */
#include "check.h"
#include <pthread.h>
#include <sys/timerfd.h>

static volatile sig_atomic_t alarms, fired, value;
static volatile pid_t by;
static siginfo_t last;
static void on_alarm(int signal)
{
    alarms++;
}
static void on_timer(int signal, siginfo_t *info, void *context)
{
    last = *info;
    by = gettid();
    fired++;
}
static void *idle(void *argument)
{
    *(volatile pid_t *)argument = gettid();
    for (;;)
        pause();
    return NULL;
}
static int near(long ns, long want, long slack)
{
    return ns <= want && ns >= want - slack;
}

int main(void)
{
    struct itimerval v = {.it_value = {10, 500000}, .it_interval = {3, 250000}}, o;
    SHOW(setitimer(ITIMER_REAL, &v, NULL));
    SHOW(getitimer(ITIMER_REAL, &o));
    say("left %ld, interval %ld.%06ld", (long)o.it_value.tv_sec, (long)o.it_interval.tv_sec, (long)o.it_interval.tv_usec);
    SHOW(alarm(100));
    SHOW(getitimer(ITIMER_REAL, &o));
    say("interval %ld", (long)o.it_interval.tv_sec);
    fflush(stdout);
    if (fork() == 0) {
        getitimer(ITIMER_REAL, &o);
        say("child: %ld", (long)o.it_value.tv_sec);
        _exit(0);
    }
    wait(NULL);
    v.it_value.tv_usec = 1000000;
    SHOW(setitimer(ITIMER_REAL, &v, NULL));
    v.it_value.tv_usec = -1;
    SHOW(setitimer(ITIMER_REAL, &v, NULL));
    SHOW(setitimer(3, &(struct itimerval){0}, NULL));
    SHOW(setitimer(ITIMER_REAL, (void *)8, NULL));
    SHOW(getitimer(ITIMER_PROF, (void *)8));
    SHOW(alarm(0));
    SHOW(alarm(0));
    signal(SIGALRM, on_alarm);
    MUST(setitimer(ITIMER_REAL, &(struct itimerval){{0, 20000}, {0, 20000}}, NULL));
    while (alarms < 5)
        pause();
    MUST(setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL));
    /* Blocked for a while: expiries do not pile up. */
    sigset_t s, old;
    sigemptyset(&s);
    sigaddset(&s, SIGALRM);
    sigaddset(&s, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &s, &old);
    alarms = 0;
    MUST(setitimer(ITIMER_REAL, &(struct itimerval){{0, 10000}, {0, 10000}}, NULL));
    pause_ms(100);
    struct itimerval off = {0};
    sigprocmask(SIG_SETMASK, &old, NULL);
    MUST(setitimer(ITIMER_REAL, &off, NULL));
    say("after 100 ms blocked: %d", alarms <= 2);

    struct sigaction a = {.sa_sigaction = on_timer, .sa_flags = SA_SIGINFO};
    sigaction(SIGRTMIN, &a, NULL);
    struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 5};
    timer_t t, u;
    struct itimerspec w = {{0, 10000000}, {0, 10000000}}, x;
    SHOW(timer_create(CLOCK_REALTIME, &e, &t));
    sigprocmask(SIG_BLOCK, &s, &old);
    SHOW(timer_settime(t, 0, &w, NULL));
    pause_ms(105);
    SHOW(timer_gettime(t, &x));
    say("left %d interval %ld", x.it_value.tv_nsec > 0 && x.it_value.tv_nsec <= 10000000, x.it_interval.tv_nsec);
    struct timespec zero = {0, 0};
    siginfo_t info;
    SHOW(sigtimedwait(&s, &info, &zero) == SIGRTMIN);
    say("overrun %d value %d code %d same %d", info.si_overrun >= 8 && info.si_overrun <= 12, info.si_value.sival_int, info.si_code,
        timer_getoverrun(t) == info.si_overrun);
    w.it_interval.tv_nsec = 0;
    w.it_value.tv_sec = 7;
    SHOW(timer_settime(t, 0, &w, &x));
    SHOW(timer_settime(t, 0, &(struct itimerspec){0}, &x));
    say("left %ld", (long)x.it_value.tv_sec);
    /* A past absolute time fires at once; a deleted timer's signal is gone. */
    clock_gettime(CLOCK_REALTIME, &w.it_value);
    w.it_value.tv_sec -= 10;
    SHOW(timer_settime(t, TIMER_ABSTIME, &w, NULL));
    pause_ms(20);
    SHOW(timer_delete(t));
    SHOW(timer_delete(t));
    sigprocmask(SIG_SETMASK, &old, NULL);
    /* Two timers keep two signals. */
    e.sigev_signo = SIGUSR1;
    sigaction(SIGUSR1, &a, NULL);
    sigaddset(&s, SIGUSR1);
    SHOW(timer_create(CLOCK_MONOTONIC, &e, &t));
    SHOW(timer_create(CLOCK_BOOTTIME, &e, &u));
    sigprocmask(SIG_BLOCK, &s, &old);
    w = (struct itimerspec){{0, 0}, {0, 1000000}};
    MUST(timer_settime(t, 0, &w, NULL));
    MUST(timer_settime(u, 0, &w, NULL));
    pause_ms(30);
    fired = 0;
    sigprocmask(SIG_SETMASK, &old, NULL);
    SHOW(fired);
    timer_delete(t);
    timer_delete(u);
    /* To one thread. */
    pthread_t thread;
    static volatile pid_t tid;
    pthread_create(&thread, NULL, idle, (void *)&tid);
    while (!tid)
        pause_ms(1);
    struct sigevent to = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};
    to._sigev_un._tid = tid;
    SHOW(timer_create(CLOCK_MONOTONIC, &to, &t));
    fired = 0;
    MUST(timer_settime(t, 0, &w, NULL));
    while (!fired)
        pause_ms(1);
    SHOW(by == tid);
    timer_delete(t);
    to._sigev_un._tid = 1 << 21;
    SHOW(timer_create(CLOCK_MONOTONIC, &to, &t));
    to.sigev_notify = 99;
    SHOW(timer_create(CLOCK_MONOTONIC, &to, &t));
    to.sigev_notify = SIGEV_SIGNAL;
    to.sigev_signo = 65;
    SHOW(timer_create(CLOCK_MONOTONIC, &to, &t));
    to.sigev_notify = SIGEV_NONE;
    SHOW(timer_create(CLOCK_MONOTONIC, &to, &t));
    w.it_value.tv_nsec = 900000000;
    SHOW(timer_settime(t, 0, &w, NULL));
    SHOW(timer_gettime(t, &x));
    say("left %d", near(x.it_value.tv_nsec, 900000000, 500000000));
    timer_delete(t);
    SHOW(timer_create(77, NULL, &t));
    SHOW(timer_create(CLOCK_MONOTONIC_RAW, NULL, &t));
    SHOW(timer_create(CLOCK_MONOTONIC, NULL, &t));
    w.it_value.tv_nsec = 1000000000;
    SHOW(timer_settime(t, 0, &w, NULL));
    SHOW(timer_settime(t, 0, NULL, NULL));
    SHOW(syscall(SYS_timer_gettime, 12345, &x));
    SHOW(syscall(SYS_timer_getoverrun, 12345));
    SHOW(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, 8));

    /* timerfd. */
    uint64_t ticks = 0;
    int fd = MUST(timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC));
    SHOW(fcntl(fd, F_GETFD));
    clock_gettime(CLOCK_REALTIME, &w.it_value);
    w.it_value.tv_nsec = 0;
    w.it_value.tv_sec -= 5;
    w.it_interval = (struct timespec){1, 0};
    SHOW(timerfd_settime(fd, TFD_TIMER_ABSTIME, &w, NULL));
    SHOW(read(fd, &ticks, 8));
    say("ticks %d", ticks >= 6 && ticks <= 7);
    SHOW(timerfd_gettime(fd, &x));
    say("next within a second %d, interval %ld", x.it_value.tv_sec == 0 && x.it_value.tv_nsec > 0, (long)x.it_interval.tv_sec);
    w = (struct itimerspec){{0, 0}, {0, 30000000}};
    SHOW(timerfd_settime(fd, 0, &w, NULL));
    SHOW(read(fd, &ticks, 8));
    say("ticks %d", (int)ticks);
    SHOW(timerfd_gettime(fd, &x));
    say("%ld", x.it_value.tv_nsec);
    SHOW(timerfd_settime(fd, 4, &w, NULL));
    SHOW(timerfd_settime(fd, 3, &w, NULL));
    SHOW(timerfd_settime(1, 0, &w, NULL));
    SHOW(timerfd_settime(99, 0, &w, NULL));
    SHOW(timerfd_create(CLOCK_MONOTONIC, 1));
    SHOW(timerfd_create(CLOCK_MONOTONIC_RAW, 0));
    SHOW(write(fd, &ticks, 8));
    return 0;
}
