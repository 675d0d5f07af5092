/* Everything at once, and all of it checked: processes that fork, execute fresh copies of this program (whose text is rewritten while their threads
 * call), start and join threads, lock, wait, signal, stop, kill, map, and write code. Any wrong result ends it with status 1.
 *
 * stress SECONDS SEED [PROCESSES]
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
static char own_path[512];

__attribute__((format(printf, 1, 2), noreturn)) static void wrong(const char *format, ...)
{
    char text[400];
    int n = snprintf(text, sizeof text, "process %d, thread %d: ", getpid(), gettid());
    va_list arguments;
    va_start(arguments, format);
    n += vsnprintf(text + n, sizeof text - n - 1, format, arguments);
    va_end(arguments);
    text[n] = '\n';
    if (write(2, text, n + 1) < 0)
        _exit(2);
    _exit(1);
}
#define CHECK(condition)                                                                        \
    do {                                                                                        \
        if (!(condition))                                                                       \
            wrong("line %d: %s (errno %d)", __LINE__, #condition, errno);                       \
    } while (0)

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}
static unsigned next(unsigned *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

/* Call sites of this program's own text. */
__attribute__((noinline)) static long call0(long number)
{
    long result;
    __asm__ volatile("mov %1, %%rax\n\tsyscall" : "=&a"(result) : "r"(number) : "rcx", "r11", "memory");
    return result;
}
__attribute__((noinline)) static long own_getppid(void)
{
    long result;
    __asm__ volatile("mov $110, %%eax\n\tsyscall" : "=a"(result) : : "rcx", "r11", "memory");
    return result;
}
__attribute__((noinline)) static long own_futex(unsigned *word, long op, long value, const void *timeout)
{
    long result;
    register const void *r10 __asm__("r10") = timeout;
    __asm__ volatile("mov $202, %%eax\n\tsyscall"
                     : "=a"(result)
                     : "D"(word), "S"(op), "d"(value), "r"(r10)
                     : "rcx", "r11", "memory");
    return result;
}

static volatile sig_atomic_t handled;
static void handler(int signal)
{
    int before = errno;
    (void)signal;
    handled++;
    own_getppid();
    if (access("/nowhere", F_OK) == 0 || errno != ENOENT)
        _exit(3);
    errno = before;
}

/* What the threads of one round share. */
enum { THREADS = 4 };
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    sem_t slots;
    unsigned word;
    long counter, waiting, inside;
    double until;
    pid_t parent, self;
    volatile int over;
    pthread_t threads[THREADS];
} round_;

static void calls(unsigned *seed)
{
    int pipes[2];
    CHECK(pipe(pipes) == 0);
    for (unsigned i = 0; i < 20 + next(seed) % 60; i++) {
        unsigned value = next(seed), got = 0;
        CHECK(own_getppid() == round_.parent);
        CHECK(call0(SYS_getpid) == round_.self);
        CHECK(call0(SYS_gettid) == gettid());
        CHECK(write(pipes[1], &value, sizeof value) == sizeof value);
        CHECK(read(pipes[0], &got, sizeof got) == sizeof got && got == value);
        CHECK(lseek(pipes[0], 0, SEEK_CUR) == -1 && errno == ESPIPE);
        { long r = own_futex(&value, FUTEX_WAIT_PRIVATE, value + 1, NULL); if (r != -EAGAIN) wrong("a wait for another value gave %ld", r); }
        CHECK(own_futex(&value, FUTEX_WAKE_PRIVATE, 1, NULL) == 0);
    }
    close(pipes[0]);
    close(pipes[1]);
}

static void locks(unsigned *seed)
{
    for (int i = 0; i < 200; i++) {
        pthread_mutex_lock(&round_.lock);
        CHECK(round_.inside++ == 0);
        round_.counter++;
        if (next(seed) % 16 == 0)
            sched_yield();
        round_.inside--;
        if (next(seed) % 32 == 0 && !round_.over) {
            struct timespec at;
            clock_gettime(CLOCK_REALTIME, &at);
            at.tv_nsec += 2000000;
            at.tv_sec += at.tv_nsec / 1000000000;
            at.tv_nsec %= 1000000000;
            int result = pthread_cond_timedwait(&round_.changed, &round_.lock, &at);
            CHECK(result == 0 || result == ETIMEDOUT);
        } else if (next(seed) % 8 == 0) {
            pthread_cond_broadcast(&round_.changed);
        }
        pthread_mutex_unlock(&round_.lock);
        while (sem_wait(&round_.slots) == -1)
            CHECK(errno == EINTR);
        CHECK(sem_post(&round_.slots) == 0);
    }
}

/* Waits that a signal or the time ends. */
static void naps(unsigned *seed)
{
    static unsigned never;
    struct timespec relative = {0, 1000 + next(seed) % 2000000};
    double start = now();
    long result = own_futex(&never, FUTEX_WAIT_PRIVATE, 0, &relative);
    CHECK(result == -ETIMEDOUT || result == -EINTR);
    CHECK(result == -EINTR || (now() - start) * 1e9 >= relative.tv_nsec - 1000);
    relative.tv_nsec = next(seed) % 500000;
    result = nanosleep(&relative, NULL);
    CHECK(result == 0 || errno == EINTR);
}

/* Memory, and numbers in vector registers that signals must leave alone. */
static void maps(unsigned *seed)
{
    size_t pages = 1 + next(seed) % 32;
    unsigned char *at = mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED);
    double sum = 0, expected = 0;
    for (size_t i = 0; i < pages; i++) {
        at[i * 4096] = (unsigned char)i;
        expected += (double)i * 1.5;
    }
    CHECK(mprotect(at, pages * 4096, PROT_READ) == 0);
    for (size_t i = 0; i < pages; i++) {
        sum += at[i * 4096] * 1.5;
        if (i % 4 == 0)
            CHECK(own_getppid() == round_.parent);
    }
    CHECK(sum == expected);
    unsigned char *moved = mremap(at, pages * 4096, (pages + 1) * 4096, MREMAP_MAYMOVE);
    CHECK(moved != MAP_FAILED && moved[(pages - 1) * 4096] == (unsigned char)(pages - 1));
    CHECK(munmap(moved, (pages + 1) * 4096) == 0);
}

/* Code that is written, run, changed and run again. */
static void writes_code(unsigned *seed)
{
    unsigned char code[] = {0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3};
    unsigned char *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED);
    long (*run)(void) = (long (*)(void))(uintptr_t)at;
    for (int i = 0; i < 6; i++) {
        int parent = next(seed) % 2;
        code[1] = parent ? 110 : 39;
        memcpy(at, code, sizeof code);
        __builtin___clear_cache((char *)at, (char *)at + sizeof code);
        for (int n = 0; n < 10; n++)
            CHECK(run() == (parent ? round_.parent : round_.self));
    }
    CHECK(munmap(at, 4096) == 0);
}

static int status_of(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) == -1)
        CHECK(errno == EINTR);
    return status;
}

static void *sleeps_for_ever(void *argument)
{
    for (;;)
        own_futex(argument, FUTEX_WAIT_PRIVATE, 0, NULL);
    return NULL;
}

/* Children of all kinds; other threads call meanwhile. */
static void forks(unsigned *seed)
{
    unsigned kind = next(seed) % 6, code = next(seed) % 100;
    if (kind == 0) {
        char *arguments[] = {"true", NULL};
        pid_t pid;
        CHECK(posix_spawn(&pid, "/bin/true", NULL, NULL, arguments, environ) == 0);
        CHECK(status_of(pid) == 0);
        return;
    }
    pid_t self = round_.self, pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        unsigned word = 0;
        if (own_getppid() != self || call0(SYS_getpid) != getpid() ||
            own_futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL) != 0)
            _exit(111);
        if (kind == 1)
            _exit((int)code);
        if (kind == 2) {
            execl("/bin/sh", "sh", "-c", "exit 9", NULL);
            _exit(112);
        }
        if (kind == 3)
            for (;;)
                own_futex(&word, FUTEX_WAIT_PRIVATE, 0, NULL);
        if (kind == 4)
            for (;;)
                own_getppid();
        raise(SIGSTOP);
        _exit((int)code);
    }
    int status;
    if (kind == 1) {
        status = status_of(pid);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == (int)code);
    } else if (kind == 2) {
        status = status_of(pid);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 9)
            wrong("a shell ended with %#x", status);
    } else if (kind == 5) {
        while (waitpid(pid, &status, WUNTRACED) == -1)
            CHECK(errno == EINTR);
        CHECK(WIFSTOPPED(status));
        CHECK(kill(pid, SIGCONT) == 0);
        status = status_of(pid);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == (int)code);
    } else {
        if (code % 2)
            usleep(code * 10);
        if (code % 3 == 0) {
            CHECK(kill(pid, SIGSTOP) == 0);
            CHECK(kill(pid, SIGCONT) == 0);
        }
        CHECK(kill(pid, SIGKILL) == 0);
        status = status_of(pid);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
}

static void *short_thread(void *argument)
{
    CHECK(call0(SYS_getpid) == round_.self);
    return argument;
}
static void threads(unsigned *seed)
{
    pthread_t t[3];
    for (uintptr_t i = 0; i < 3; i++)
        CHECK(pthread_create(&t[i], NULL, short_thread, (void *)(i * 7)) == 0);
    for (uintptr_t i = 0; i < 3; i++) {
        void *result;
        CHECK(pthread_join(t[i], &result) == 0 && result == (void *)(i * 7));
    }
    if (next(seed) % 4 == 0) {
        void *library = dlopen("libm.so.6", RTLD_NOW);
        CHECK(library != NULL);
        double (*root)(double) = (double (*)(double))(uintptr_t)dlsym(library, "sqrt");
        CHECK(root != NULL && root(144.0) == 12.0);
        CHECK(dlclose(library) == 0);
    }
}

static void *works(void *argument)
{
    unsigned seed = (unsigned)(uintptr_t)argument | 1;
    void (*const all[])(unsigned *) = {calls, calls, locks, naps, maps, writes_code, forks, threads};
    while (now() < round_.until)
        all[next(&seed) % (sizeof all / sizeof *all)](&seed);
    return NULL;
}

/* Sends signals to all threads of the round. */
static void *disturbs(void *argument)
{
    unsigned seed = (unsigned)(uintptr_t)argument | 1;
    while (!round_.over) {
        pthread_kill(round_.threads[next(&seed) % THREADS], next(&seed) % 2 ? SIGUSR1 : SIGUSR2);
        usleep(next(&seed) % 2000);
    }
    return NULL;
}

static void one_round(unsigned *seed, double length)
{
    pthread_t disturber;
    memset(&round_, 0, sizeof round_);
    pthread_mutex_init(&round_.lock, NULL);
    pthread_cond_init(&round_.changed, NULL);
    sem_init(&round_.slots, 0, 2);
    round_.until = now() + length;
    round_.parent = getppid();
    round_.self = getpid();
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&round_.threads[i], NULL, works, (void *)(uintptr_t)next(seed)) == 0);
    CHECK(pthread_create(&disturber, NULL, disturbs, (void *)(uintptr_t)next(seed)) == 0);
    for (int i = 0; i < THREADS; i++) {
        /* Before the last is joined: the others must exist as long as signals are sent to them. */
        if (i == 0) {
            while (now() < round_.until)
                usleep(1000);
            round_.over = 1;
            CHECK(pthread_join(disturber, NULL) == 0);
            pthread_mutex_lock(&round_.lock);
            pthread_cond_broadcast(&round_.changed);
            pthread_mutex_unlock(&round_.lock);
        }
        CHECK(pthread_join(round_.threads[i], NULL) == 0);
    }
    CHECK(round_.inside == 0);
}

/* A file of its own with this program: its text is new to whoever rewrites it. */
static void execute_copy(double until, unsigned seed, unsigned generation)
{
    char path[64], number[3][32];
    snprintf(path, sizeof path, "/tmp/stress.%d.%u", getpid(), generation);
    int from = open(own_path, O_RDONLY | O_CLOEXEC), to = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0700);
    CHECK(from >= 0 && to >= 0);
    char buffer[65536];
    ssize_t n;
    while ((n = read(from, buffer, sizeof buffer)) > 0)
        CHECK(write(to, buffer, n) == n);
    close(to);
    snprintf(number[0], 32, "%.3f", until);
    snprintf(number[1], 32, "%u", seed);
    snprintf(number[2], 32, "%u", generation);
    /* With threads that sleep and one that calls, which all end with it. */
    static unsigned never;
    pthread_t t;
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&t, NULL, sleeps_for_ever, &never) == 0);
    execl(path, path, "worker", own_path, number[0], number[1], number[2], NULL);
    CHECK(!"execve");
}

static void handle(int signal, int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    CHECK(sigaction(signal, &action, NULL) == 0);
}

static int worker(double until, unsigned seed, unsigned generation)
{
    handle(SIGUSR1, SA_RESTART);
    handle(SIGUSR2, 0);
    handle(SIGALRM, SA_RESTART);
    struct itimerval often = {{0, 7000}, {0, 7000}}, off = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &often, NULL);
    one_round(&seed, 0.05 + next(&seed) % 250 / 1000.0);
    setitimer(ITIMER_REAL, &off, NULL);
    if (now() >= until)
        return 0;
    execute_copy(until, next(&seed), generation + 1);
    return 1;
}

int main(int count, char **arguments)
{
    if (count == 6 && strcmp(arguments[1], "worker") == 0) {
        unlink(arguments[0]);
        snprintf(own_path, sizeof own_path, "%s", arguments[2]);
        return worker(atof(arguments[3]), (unsigned)atol(arguments[4]), (unsigned)atol(arguments[5]));
    }
    if (count < 3)
        return 2;
    ssize_t n = readlink("/proc/self/exe", own_path, sizeof own_path - 1);
    CHECK(n > 0);
    double until = now() + atof(arguments[1]);
    unsigned seed = (unsigned)atol(arguments[2]) * 2654435761u | 1;
    int processes = count > 3 ? atoi(arguments[3]) : 3;
    for (int i = 0; i < processes; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0)
            execute_copy(until, next(&seed) + (unsigned)i, 0);
        next(&seed);
    }
    int bad = 0;
    for (int i = 0; i < processes; i++) {
        int status;
        pid_t pid = wait(&status);
        if (pid == -1 || status != 0) {
            fprintf(stderr, "process %d ended with status %#x\n", pid, status);
            bad = 1;
        }
    }
    if (!bad)
        puts("all right");
    return bad;
}
