/* Threads that sleep in private futexes while the process changes around them: ends of threads and of the process, execve, fork, tasks that share
 * its memory without being its threads, seccomp filters, calls that wait on several futexes. */
#include "check.h"
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif
struct waitv {
    uint64_t value, address;
    uint32_t flags, reserved;
};

static long futex(void *word, int op, unsigned value, void *timeout, void *word2, unsigned value3)
{
    long result = syscall(SYS_futex, word, op, value, timeout, word2, value3);
    return result == -1 ? -errno : result;
}
static unsigned words[8];
static volatile int sleeping;
static void *sleeps(void *argument)
{
    unsigned *word = argument;
    __atomic_add_fetch(&sleeping, 1, __ATOMIC_SEQ_CST);
    long result;
    do
        result = futex(word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    while (result == 0 && __atomic_load_n(word, __ATOMIC_SEQ_CST) == 0);
    return (void *)result;
}
static void sleepers(pthread_t *t, int n)
{
    sleeping = 0;
    for (int i = 0; i < n; i++)
        MUST(pthread_create(&t[i], NULL, sleeps, &words[i]));
    while (sleeping < n)
        pause_ms(1);
    pause_ms(50);
}
static long wake(unsigned *word)
{
    __atomic_store_n(word, 1, __ATOMIC_SEQ_CST);
    return futex(word, FUTEX_WAKE_PRIVATE, 9, NULL, NULL, 0);
}

/* What becomes of a child that runs this with three sleeping threads. */
static void child(const char *name, void (*run)(void))
{
    fflush(stdout);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        pthread_t t[3];
        sleepers(t, 3);
        run();
        _exit(98);
    }
    int status;
    MUST(waitpid(pid, &status, 0));
    say("%s: exit %d, signal %d", name, WIFEXITED(status) ? WEXITSTATUS(status) : -1,
        WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}
static void exits(void)
{
    _exit(7);
}
static void dies(void)
{
    kill(getpid(), SIGKILL);
    pause();
}
static void faults(void)
{
    *(volatile int *)8 = 1;
}
static void executes(void)
{
    execl("/bin/sh", "sh", "-c", "exit 5", NULL);
}
static void *executes_elsewhere(void *argument)
{
    executes();
    return NULL;
}
static void a_thread_executes(void)
{
    pthread_t t;
    pthread_create(&t, NULL, executes_elsewhere, NULL);
    pause();
}
static void *exits_last(void *argument)
{
    pause_ms(50);
    for (int i = 0; i < 3; i++)
        wake(&words[i]);
    pause_ms(50);
    _exit(11);
}
static void leader_ends_first(void)
{
    pthread_t t;
    pthread_create(&t, NULL, exits_last, NULL);
    pthread_exit(NULL);
}
static void forks(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        /* The sleepers are the parent's alone. */
        long woken = futex(&words[0], FUTEX_WAKE_PRIVATE, 9, NULL, NULL, 0);
        pthread_t t[3];
        sleepers(t, 3);
        _exit(woken == 0 && wake(&words[1]) == 1 ? 3 : 4);
    }
    int status;
    waitpid(pid, &status, 0);
    long woken = wake(&words[0]);
    _exit(WEXITSTATUS(status) == 3 && woken == 1 ? 12 : 13);
}

static int shares_memory(void *argument)
{
    futex(&words[4], FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    words[5] = 1;
    futex(&words[5], FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    return 6;
}
static void clones(void)
{
    char *stack = MUST(mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    pid_t pid = MUST(clone(shares_memory, stack + 65536, CLONE_VM | SIGCHLD, NULL));
    long woken = 0;
    words[4] = 0;
    while ((woken = futex(&words[4], FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0)) == 0)
        pause_ms(1);
    while (words[5] == 0)
        futex(&words[5], FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    int status;
    waitpid(pid, &status, __WALL);
    _exit(WEXITSTATUS(status) == 6 && woken == 1 ? 14 : 15);
}

static void filter(unsigned flags)
{
    struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {1, &allow};
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    MUST(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program));
}
static void *wakes(void *argument)
{
    return (void *)wake(argument);
}
static int finish(pthread_t *t, int n)
{
    int bad = 0;
    for (int i = 0; i < n; i++) {
        void *result;
        pthread_join(t[i], &result);
        bad += result != NULL && (long)result != -EAGAIN;
    }
    return bad;
}
/* A filter of the main thread alone, or of all, while others sleep: they and those without a filter still wake each other. */
static void with_filter(unsigned flags)
{
    pthread_t t[4], free_thread;
    pause_ms(50);
    memset(words, 0, sizeof words);
    sleepers(t, 4);
    filter(flags);
    futex(&words[7], FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    pause_ms(30);
    long first = wake(&words[0]);
    pthread_create(&free_thread, NULL, wakes, &words[1]);
    void *woken;
    pthread_join(free_thread, &woken);
    pthread_t u[1];
    words[6] = 0;
    sleeping = 0;
    pthread_create(&u[0], NULL, sleeps, &words[6]);
    while (!sleeping)
        pause_ms(1);
    pause_ms(30);
    long third = wake(&words[6]);
    wake(&words[2]);
    wake(&words[3]);
    int bad = finish(t, 4) + finish(u, 1);
    _exit(bad == 0 && first == 1 && (long)woken == 1 && third == 1 ? 16 : 17);
}
static void filters_one(void)
{
    memset(words, 1, sizeof words);
    for (int i = 0; i < 3; i++)
        futex(&words[i], FUTEX_WAKE_PRIVATE, 9, NULL, NULL, 0);
    with_filter(0);
}
static void filters_all(void)
{
    for (int i = 0; i < 3; i++)
        wake(&words[i]);
    with_filter(SECCOMP_FILTER_FLAG_TSYNC);
}

static void *waits_on_two(void *argument)
{
    struct waitv two[2] = {{0, (uintptr_t)&words[4], 2 | FUTEX_PRIVATE_FLAG, 0},
                           {0, (uintptr_t)&words[5], 2 | FUTEX_PRIVATE_FLAG, 0}};
    __atomic_add_fetch(&sleeping, 1, __ATOMIC_SEQ_CST);
    long result = syscall(SYS_futex_waitv, two, 2, 0, NULL, 0);
    return (void *)(result == -1 ? -errno : result);
}
static void waits_on_several(void)
{
    pthread_t t;
    int good = 0;
    for (int round = 0; round < 20; round++) {
        sleeping = 0;
        words[4] = words[5] = 0;
        pthread_create(&t, NULL, waits_on_two, NULL);
        while (!sleeping)
            pause_ms(1);
        pause_ms(10);
        long woken = wake(&words[4 + round % 2]);
        void *result;
        pthread_join(t, &result);
        good += woken == 1 && (long)result == round % 2;
    }
    /* Those that slept before are found, too. */
    long others = wake(&words[0]) + wake(&words[1]) + wake(&words[2]);
    _exit(good == 20 && others == 3 ? 18 : 19);
}

int main(void)
{
    for (int i = 0; i < 500; i++)
        futex(&words[0], FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    for (int round = 0; round < 2; round++) {
        child("exit_group", exits);
        child("killed", dies);
        child("fault", faults);
        child("execve", executes);
        child("execve of a thread", a_thread_executes);
        child("the leader ends first", leader_ends_first);
        child("fork", forks);
        child("clone with memory", clones);
        child("a filter of one thread", filters_one);
        child("a filter of all", filters_all);
        child("futex_waitv", waits_on_several);
    }
    return 0;
}
