/* FUTEX_WAIT_REQUEUE_PI and FUTEX_CMP_REQUEUE_PI, FUTEX_LOCK_PI with timeouts and dead owners. */
#include "check.h"
#include <linux/futex.h>
#include <pthread.h>

static long futex(void *word, int op, unsigned value, void *timeout, void *word2, unsigned value3)
{
    return syscall(SYS_futex, word, op, value, timeout, word2, value3);
}

static unsigned condition, lock_word;
static int woken;

static unsigned tid(void)
{
    return syscall(SYS_gettid);
}

static void lock(void)
{
    unsigned free = 0;
    if (!__atomic_compare_exchange_n(&lock_word, &free, tid(), 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        MUST(futex(&lock_word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
}

static void unlock(void)
{
    unsigned mine = tid();
    if (!__atomic_compare_exchange_n(&lock_word, &mine, 0, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        MUST(futex(&lock_word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
}

static void *waiter(void *unused)
{
    (void)unused;
    MUST(futex(&condition, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, NULL, &lock_word, 0));
    if ((lock_word & FUTEX_TID_MASK) != tid())
        say("woken without the lock");
    woken++;
    unlock();
    return NULL;
}

static void *owner_that_dies(void *unused)
{
    (void)unused;
    lock();
    return NULL;
}

static void requeue_all(int hold)
{
    pthread_t t[3];
    woken = 0;
    for (int i = 0; i < 3; i++)
        pthread_create(&t[i], NULL, waiter, NULL);
    pause_ms(100);
    SHOW(futex(&condition, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
    if (hold)
        lock();
    SHOW(futex(&condition, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)10, &lock_word, 7));
    SHOW(futex(&condition, FUTEX_CMP_REQUEUE_PI_PRIVATE, 2, (void *)10, &lock_word, 0));
    SHOW(futex(&condition, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)10, &lock_word, 0));
    if (hold) {
        SHOW(woken);
        unlock();
    }
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    SHOW(woken);
    SHOW(lock_word & FUTEX_TID_MASK);
}

int main(void)
{
    requeue_all(0);
    requeue_all(1);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    SHOW(futex(&condition, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, &now, &lock_word, 0));
    SHOW(futex(&condition, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 5, &now, &lock_word, 0));
    SHOW(futex(&condition, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, &now, &condition, 0));

    lock();
    SHOW(futex(&lock_word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    SHOW(futex(&lock_word, FUTEX_TRYLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    unlock();
    SHOW(futex(&lock_word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    if (fork() == 0) {
        /* Its own copy of the word, with an owner that is the parent. */
        lock_word = getppid();
        clock_gettime(CLOCK_REALTIME, &now);
        SHOW(futex(&lock_word, FUTEX_LOCK_PI_PRIVATE, 0, &now, NULL, 0));
        SHOW(futex(&lock_word, FUTEX_TRYLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
        SHOW(futex(&lock_word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
        _exit(0);
    }
    wait(NULL);
    pthread_t t;
    pthread_create(&t, NULL, owner_that_dies, NULL);
    pthread_join(t, NULL);
    SHOW(futex(&lock_word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    return 0;
}
