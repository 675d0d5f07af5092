//@ root=only
/* Time namespaces: shifted clocks, in calls and after execve; what they mean to timers and futexes; who may set them, and when. */
#include "check.h"
#include <linux/futex.h>
#include <sys/sysinfo.h>
#include <sys/timerfd.h>

#define NEWTIME 0x80
#define SHIFT 100000

/* By the call itself: a process that does not call execve may keep a vDSO that knows nothing. */
static double now(int clock)
{
    struct timespec t;
    MUST(syscall(SYS_clock_gettime, clock, &t));
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double host[12];
static const int clocks[] = {CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME, CLOCK_REALTIME};

static void remember(void)
{
    for (int i = 0; i < 5; i++)
        host[clocks[i]] = now(clocks[i]);
}

static void compare(const char *where)
{
    for (int i = 0; i < 5; i++)
        say("%s: clock %d is shifted by about %.0f", where, clocks[i], (now(clocks[i]) - host[clocks[i]]) / 1000);
}

/* 0 if it wrote, else the error's name. */
static const char *set(const char *text)
{
    int fd = MUST(open("/proc/self/timens_offsets", O_WRONLY));
    ssize_t n = write(fd, text, strlen(text));
    const char *result = n < 0 ? strerrorname_np(errno) : n == (ssize_t)strlen(text) ? "written" : "in part";
    close(fd);
    return result;
}

static void show_offsets(void)
{
    char text[200];
    int fd = MUST(open("/proc/self/timens_offsets", O_RDONLY));
    ssize_t n = MUST(read(fd, text, sizeof text - 1));
    text[n] = 0;
    printf("%s", text);
    close(fd);
}

static int same(const char *one, const char *two)
{
    char a[64] = "", b[64] = "";
    MUST(readlink(one, a, sizeof a - 1));
    MUST(readlink(two, b, sizeof b - 1));
    return strcmp(a, b) == 0;
}

static double uptime(void)
{
    double t = 0;
    FILE *f = fopen("/proc/uptime", "r");
    if (f == NULL || fscanf(f, "%lf", &t) != 1)
        exit(98);
    fclose(f);
    return t;
}

static void timers(void)
{
    /* In a tenth of a second, by the shifted clock. */
    struct timespec at;
    MUST(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &at));
    double start = now(CLOCK_REALTIME);
    at.tv_nsec += 100000000;
    if (at.tv_nsec >= 1000000000)
        at.tv_sec++, at.tv_nsec -= 1000000000;
    SHOW(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL));
    double slept = now(CLOCK_REALTIME) - start;
    say("slept %s", slept > 0.05 && slept < 5 ? "a while" : "not so");
    /* That is past. */
    SHOW(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &(struct timespec){5, 0}, NULL));
    int fd = MUST(timerfd_create(CLOCK_BOOTTIME, 0));
    MUST(syscall(SYS_clock_gettime, CLOCK_BOOTTIME, &at));
    at.tv_sec += 50;
    struct itimerspec spec = {.it_value = at}, left;
    SHOW(timerfd_settime(fd, TFD_TIMER_ABSTIME, &spec, NULL));
    MUST(timerfd_gettime(fd, &left));
    say("left %s", left.it_value.tv_sec >= 40 && left.it_value.tv_sec <= 50 ? "50 seconds" : "something else");
    spec.it_value = (struct timespec){7, 0};
    SHOW(timerfd_settime(fd, TFD_TIMER_ABSTIME, &spec, NULL));
    uint64_t ticks;
    SHOW(read(fd, &ticks, 8));
    timer_t timer;
    MUST(timer_create(CLOCK_MONOTONIC, &(struct sigevent){.sigev_notify = SIGEV_NONE}, &timer));
    MUST(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &at));
    at.tv_sec += 50;
    spec.it_value = at;
    SHOW(timer_settime(timer, TIMER_ABSTIME, &spec, NULL));
    MUST(timer_gettime(timer, &left));
    say("left %s", left.it_value.tv_sec >= 40 && left.it_value.tv_sec <= 50 ? "50 seconds" : "something else");
    /* Both kinds of futexes. */
    uint32_t word = 0;
    for (int private = 0; private <= FUTEX_PRIVATE_FLAG; private += FUTEX_PRIVATE_FLAG) {
        MUST(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &at));
        start = now(CLOCK_REALTIME);
        at.tv_sec += 1;
        SHOW(syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | private, 0, &at, NULL, ~0));
        slept = now(CLOCK_REALTIME) - start;
        say("waited %s", slept > 0.9 && slept < 10 ? "a while" : "not so");
    }
}

/* As the C library tells: it may have learnt of a vDSO where nothing was shifted. */
static double known(clockid_t clock)
{
    struct timespec t;
    MUST(clock_gettime(clock, &t));
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void inside(void)
{
    say("known: %.0f %.0f %.0f", (known(CLOCK_MONOTONIC) - host[CLOCK_MONOTONIC]) / 1000,
        (known(CLOCK_BOOTTIME) - host[CLOCK_BOOTTIME]) / 1000, (known(CLOCK_REALTIME) - host[CLOCK_REALTIME]) / 1000);
    struct timeval day;
    struct timespec resolution;
    SHOW(gettimeofday(&day, NULL));
    SHOW(clock_getres(CLOCK_MONOTONIC, &resolution));
    say("of day: %d, %ld, %d", labs(day.tv_sec - time(NULL)) <= 1, resolution.tv_nsec, sched_getcpu() >= 0);
    say("time is that for children: %d", same("/proc/self/ns/time", "/proc/self/ns/time_for_children"));
    say("set late: %s", set("monotonic 1 0\n"));
    show_offsets();
    compare("call");
    struct sysinfo info;
    MUST(sysinfo(&info));
    say("uptime %d %d", info.uptime >= 200000, uptime() >= 200000);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        /* As the C library tells, however it knows. */
        struct timespec t;
        MUST(clock_gettime(CLOCK_MONOTONIC, &t));
        say("after execve: shifted by about %.0f", (t.tv_sec - atof(argv[1])) / 1000);
        MUST(clock_gettime(CLOCK_BOOTTIME, &t));
        say("after execve: shifted by about %.0f", (t.tv_sec - atof(argv[2])) / 1000);
        timers();
        return 0;
    }
    remember();
    say("the first one's: %s", set("monotonic 1 0\n"));
    int first = MUST(open("/proc/self/ns/time", O_RDONLY));
    SHOW(unshare(NEWTIME));
    say("time is that for children: %d", same("/proc/self/ns/time", "/proc/self/ns/time_for_children"));
    show_offsets();
    static const char *const texts[] = {
        "", "monotonic", "monotonic 1", "realtime 1 0", "0 1 0", "monotonic 1 1000000000", "monotonic x 0",
        "monotonic -9000000000 0", "monotonic 5000000000 0", "monotonic 9223372036854775807 0", "boottime 4000000000 0",
        "1 7 0\n7 8 9\n", "monotonic 1 0\nboottime 2 0\nmonotonic 3 0\n", "monotonic -1 5",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        say("%zu: %s", i, set(texts[i]));
        show_offsets();
    }
    pid_t pid = MUST(fork());
    if (pid == 0) {
        setuid(65534);
        int fd = open("/proc/self/timens_offsets", O_WRONLY);
        say("as nobody: %s", fd < 0 ? strerrorname_np(errno) : write(fd, "1 1 0", 5) < 0 ? strerrorname_np(errno) : "written");
        SHOW(unshare(NEWTIME));
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    /* Somebody has lived there. */
    say("after the first child: %s", set("monotonic 100000 0\n"));
    SHOW(unshare(NEWTIME));
    show_offsets();
    say("set: %s", set("monotonic 100000 0\nboottime 200000 0\n"));
    int next = MUST(open("/proc/self/ns/time_for_children", O_RDONLY));
    compare("parent");
    pid = MUST(fork());
    if (pid == 0) {
        inside();
        timers();
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    pid = MUST(vfork());
    if (pid == 0) {
        char monotonic[32], boottime[32];
        sprintf(monotonic, "%f", host[CLOCK_MONOTONIC]);
        sprintf(boottime, "%f", host[CLOCK_BOOTTIME]);
        execl("/proc/self/exe", argv[0], monotonic, boottime, NULL);
        _exit(1);
    }
    waitpid(pid, NULL, 0);
    struct {
        uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
    } args = {.flags = NEWTIME, .exit_signal = SIGCHLD};
    pid = MUST(syscall(SYS_clone3, &args, sizeof args));
    if (pid == 0) {
        say("in another one: %d", !same("/proc/self/ns/time", "/proc/self/ns/time_for_children"));
        show_offsets();
        compare("clone3");
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    SHOW(setns(next, NEWTIME));
    inside();
    SHOW(setns(first, CLONE_NEWUTS));
    SHOW(setns(first, NEWTIME));
    compare("back");
    return 0;
}
