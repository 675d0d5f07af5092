/* Resident sizes: every place that tells them tells of memory that was touched, and forgets what was given back. */
#include "check.h"

enum { MIB = 1 << 20, SIZE = 64 * MIB };

static long field(const char *path, const char *name) {
    char line[256];
    long value = -1;
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, name, strlen(name)))
            value = atol(line + strlen(name)) * 1024;
    if (f)
        fclose(f);
    return value;
}

static long statm(pid_t pid, int which) {
    char path[64];
    long v[3] = {-1, -1, -1};
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *f = fopen(path, "r");
    if (f) {
        MUST(fscanf(f, "%ld %ld %ld", v, v + 1, v + 2));
        fclose(f);
    }
    return v[which] * 4096;
}

static long stat_rss(void) {
    long rss = -1;
    FILE *f = fopen("/proc/self/stat", "r");
    MUST(fscanf(f, "%*d %*s %*c %*d %*d %*d %*d %*d %*d %*d %*d %*d %*d %*d %*d %*d %*d %*d %*d %*d %*d %*d %*d %ld", &rss));
    fclose(f);
    return rss * 4096;
}

static long peak(int who) {
    struct rusage u;
    MUST(getrusage(who, &u));
    return u.ru_maxrss * 1024;
}

/* As what a size counts: in steps of 64 MiB. */
static long steps(long bytes) {
    return (bytes + SIZE / 4) / SIZE;
}

static void show(const char *when) {
    printf("%s: statm %ld, stat %ld, VmRSS %ld, RssAnon %ld, rollup %ld\n", when, steps(statm(getpid(), 1)), steps(stat_rss()),
           steps(field("/proc/self/status", "VmRSS:")), steps(field("/proc/self/status", "RssAnon:")),
           steps(field("/proc/self/smaps_rollup", "Rss:")));
    fflush(stdout);
}

static char *map(int flags) {
    char *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
    MUST((long)p);
    return p;
}

static void child_of(long size) {
    pid_t pid = MUST(fork());
    if (pid == 0) {
        char *p = map(MAP_PRIVATE);
        memset(p, 1, size);
        _exit(0);
    }
    struct rusage u;
    MUST(wait4(pid, NULL, 0, &u));
    printf("a child: %ld, all children: %ld\n", steps(u.ru_maxrss * 1024), steps(peak(RUSAGE_CHILDREN)));
}

int main(void) {
    printf("something from the start: %d\n", statm(getpid(), 1) > 0 && peak(RUSAGE_SELF) > 0);
    show("start");
    char *p = map(MAP_PRIVATE);
    show("mapped");
    memset(p, 1, SIZE);
    show("touched");
    printf("peak: %ld\n", steps(peak(RUSAGE_SELF)));
    MUST(madvise(p, SIZE, MADV_DONTNEED));
    show("given back");
    printf("VmHWM: %ld, ru_maxrss: %ld\n", steps(field("/proc/self/status", "VmHWM:")), steps(peak(RUSAGE_SELF)));
    char *shared = map(MAP_SHARED);
    memset(shared, 1, SIZE);
    printf("shared: statm %ld of %ld, anonymous %ld\n", steps(statm(getpid(), 2)), steps(statm(getpid(), 1)),
           steps(field("/proc/self/status", "RssAnon:")));
    MUST(munmap(shared, SIZE));
    /* Others see it too, also while the process runs. */
    memset(p, 1, SIZE);
    int fds[2];
    MUST(pipe(fds));
    pid_t busy = MUST(fork());
    if (busy == 0) {
        memset(p, 2, SIZE);
        MUST(write(fds[1], "x", 1));
        for (volatile long i = 0;; i++)
            ;
    }
    char byte;
    MUST(read(fds[0], &byte, 1));
    printf("a busy child: %ld\n", steps(statm(busy, 1)));
    MUST(kill(busy, SIGKILL));
    MUST(waitpid(busy, NULL, 0));
    printf("a dead one: %ld\n", statm(busy, 1) < 0 ? 0L : 1L);
    MUST(munmap(p, SIZE));
    child_of(SIZE);
    child_of(0);
    return 0;
}
