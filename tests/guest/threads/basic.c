/* pthreads: creation, mutexes, conditions, barriers, thread-local storage, cancellation, exit. */
#include "check.h"
#include <pthread.h>
#include <semaphore.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static sem_t semaphore;
static long counter, turns;
static __thread int local = 5;

static void *add(void *argument)
{
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 20000; i++) {
        pthread_mutex_lock(&mutex);
        counter++;
        pthread_mutex_unlock(&mutex);
    }
    local += (int)(long)argument;
    return (void *)(long)local;
}

static void *turn(void *argument)
{
    long me = (long)argument;
    for (int i = 0; i < 200; i++) {
        pthread_mutex_lock(&mutex);
        while (turns % 4 != me)
            pthread_cond_wait(&condition, &mutex);
        turns++;
        pthread_cond_broadcast(&condition);
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void *sleeper(void *argument)
{
    for (;;)
        pause();
    return NULL;
}

static void *poster(void *argument)
{
    for (int i = 0; i < 1000; i++)
        sem_post(&semaphore);
    return NULL;
}

static void *last(void *argument)
{
    pause_ms(50);
    say("the last thread");
    exit(6);
}

int main(void)
{
    pthread_t t[8];
    void *result;
    pthread_barrier_init(&barrier, NULL, 8);
    for (long i = 0; i < 8; i++)
        SHOW(pthread_create(&t[i], NULL, add, (void *)i));
    for (int i = 0; i < 8; i++) {
        pthread_join(t[i], &result);
        SHOW((long)result);
    }
    say("counter %ld, own copy %d", counter, local);
    for (long i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, turn, (void *)i);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    say("turns %ld", turns);
    pthread_create(&t[0], NULL, sleeper, NULL);
    pause_ms(20);
    SHOW(pthread_cancel(t[0]));
    pthread_join(t[0], &result);
    SHOW(result == PTHREAD_CANCELED);
    sem_init(&semaphore, 0, 0);
    pthread_create(&t[0], NULL, poster, NULL);
    for (int i = 0; i < 1000; i++)
        sem_wait(&semaphore);
    pthread_join(t[0], NULL);
    SHOW(sem_trywait(&semaphore));
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 30000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    SHOW(sem_timedwait(&semaphore, &until));
    pthread_mutex_lock(&mutex);
    SHOW(pthread_mutex_trylock(&mutex) == EBUSY);
    SHOW(pthread_cond_timedwait(&condition, &mutex, &until) == ETIMEDOUT);
    pthread_mutex_unlock(&mutex);
    for (int round = 0; round < 30; round++) {
        for (int i = 0; i < 8; i++)
            pthread_create(&t[i], NULL, poster, NULL);
        for (int i = 0; i < 8; i++)
            pthread_join(t[i], NULL);
    }
    int value;
    sem_getvalue(&semaphore, &value);
    SHOW(value);
    pthread_create(&t[0], NULL, last, NULL);
    pthread_detach(t[0]);
    pthread_exit(NULL);
}
