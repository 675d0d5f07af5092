/* Threads that make calls without a pause from the start, so that they are in the middle of it whenever the text changes. */
#include "../check.h"
#include <pthread.h>

static int parent;
static pthread_barrier_t barrier;

static void *work(void *arg) {
    long wrong = 0;
    int pipes[2];
    char buf[64];
    MUST(pipe(pipes));
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 1500; i++) {
        wrong += getppid() != parent;
        wrong += write(pipes[1], &i, sizeof i) != sizeof i;
        int got = -1;
        wrong += read(pipes[0], &got, sizeof got) != sizeof got || got != i;
        wrong += lseek(pipes[0], 0, SEEK_CUR) != -1 || errno != ESPIPE;
        wrong += syscall(SYS_getppid) != parent;
        snprintf(buf, sizeof buf, "/nowhere/%d", i);
        wrong += access(buf, F_OK) != -1 || errno != ENOENT;
    }
    close(pipes[0]);
    close(pipes[1]);
    (void)arg;
    return (void *)wrong;
}

int main(void) {
    pthread_t threads[4];
    parent = getppid();
    pthread_barrier_init(&barrier, NULL, 4);
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, work, NULL);
    for (int i = 0; i < 4; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        printf("thread %d: %ld wrong\n", i, (long)wrong);
    }
    return 0;
}
