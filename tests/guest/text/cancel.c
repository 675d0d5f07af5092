/* Threads are cancelled in and between calls: the C library unwinds from where they are. */
#include "../check.h"
#include <pthread.h>

static int cleaned;
static volatile int going;

static void cleanup(void *arg) { cleaned += (int)(long)arg; }

static void *blocked(void *arg) {
    char c;
    pthread_cleanup_push(cleanup, (void *)1);
    going = 1;
    for (;;)
        if (read((int)(long)arg, &c, 1) != 1)
            break;
    pthread_cleanup_pop(0);
    return NULL;
}

static void *busy(void *arg) {
    (void)arg;
    pthread_cleanup_push(cleanup, (void *)100);
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    going = 1;
    for (;;)
        syscall(SYS_getppid);
    pthread_cleanup_pop(0);
    return NULL;
}

int main(void) {
    int pipes[2], cancelled = 0;
    MUST(pipe(pipes));
    for (int i = 0; i < 100; i++)
        getppid();
    for (int i = 0; i < 40; i++) {
        pthread_t t;
        void *result;
        going = 0;
        pthread_create(&t, NULL, i % 2 ? busy : blocked, (void *)(long)pipes[0]);
        while (!going)
            sched_yield();
        if (i % 4 == 0)
            MUST(write(pipes[1], "abc", 3));
        usleep(i * 100);
        pthread_cancel(t);
        pthread_join(t, &result);
        cancelled += result == PTHREAD_CANCELED;
    }
    printf("cancelled %d, cleaned %d\n", cancelled, cleaned);
    return 0;
}
