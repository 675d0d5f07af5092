/* semget, semop, semtimedop, semctl: blocking, all or nothing, undo, removal, counts of waiters. */
#include "check.h"
#include <sys/ipc.h>
#include <sys/sem.h>

static void values(int id, int n)
{
    unsigned short v[8] = {0};
    MUST(semctl(id, 0, GETALL, v));
    for (int i = 0; i < n; i++)
        printf("%d ", v[i]);
    say("values");
}

static int op(int id, int num, int by, int flags)
{
    struct sembuf s = {num, by, flags};
    return semop(id, &s, 1);
}

static void until_waiting(int id, int num, int command)
{
    while (semctl(id, num, command) == 0)
        usleep(1000);
}

/* What a child got from its call: 0 or the errno. */
static int outcome(pid_t child)
{
    int status;
    MUST(waitpid(child, &status, 0));
    return WEXITSTATUS(status);
}

static void on_alarm(int s)
{
    (void)s;
}

int main(void)
{
    int id = MUST(semget(IPC_PRIVATE, 3, 0600));
    values(id, 3);
    SHOW(semctl(id, 1, SETVAL, 5));
    SHOW(semctl(id, 1, SETVAL, 32768));
    SHOW(semctl(id, 3, SETVAL, 1));
    SHOW(semctl(id, 1, GETVAL));
    SHOW(op(id, 1, -3, 0));
    SHOW(op(id, 1, -3, IPC_NOWAIT));
    SHOW(op(id, 3, 1, 0));
    SHOW(op(id, 1, 32767, 0));
    struct sembuf two[] = {{1, -1, 0}, {2, -1, IPC_NOWAIT}};
    SHOW(semop(id, two, 2));
    values(id, 3);
    SHOW(semop(id, two, 0));
    SHOW(semop(id, NULL, 1));
    struct sembuf many[501] = {{0}};
    SHOW(semop(id, many, 501));
    SHOW(semop(id, many, 500));
    struct timespec t = {0, 20000000}, bad = {0, 1000000000};
    struct sembuf down = {0, -1, 0};
    SHOW(semtimedop(id, &down, 1, &t));
    SHOW(semtimedop(id, &down, 1, &bad));

    /* One waits for the other. */
    pid_t child = fork();
    if (child == 0) {
        if (op(id, 0, -2, 0) == 0 && op(id, 2, 0, 0) == 0)
            _exit(0);
        _exit(errno);
    }
    until_waiting(id, 0, GETNCNT);
    SHOW(semctl(id, 0, GETNCNT));
    SHOW(semctl(id, 0, GETZCNT));
    SHOW(semctl(id, 2, SETVAL, 1));
    SHOW(op(id, 0, 2, 0));
    until_waiting(id, 2, GETZCNT);
    SHOW(op(id, 2, -1, 0));
    SHOW(outcome(child));
    SHOW(semctl(id, 2, GETPID) == child);

    /* Undo at the end of a process, also a violent one. */
    SHOW(semctl(id, 0, SETVAL, 4));
    if ((child = fork()) == 0) {
        MUST(op(id, 0, -3, SEM_UNDO));
        MUST(op(id, 1, 2, SEM_UNDO));
        values(id, 3);
        raise(SIGKILL);
    }
    waitpid(child, NULL, 0);
    values(id, 3);

    /* Signals end the wait whatever SA_RESTART says. */
    struct sigaction sa = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &sa, NULL);
    struct itimerval it = {.it_value = {0, 30000}};
    setitimer(ITIMER_REAL, &it, NULL);
    SHOW(op(id, 0, -100, 0));
    SHOW(semctl(id, 0, GETNCNT));

    /* Removal wakes waiters. */
    if ((child = fork()) == 0) {
        op(id, 0, -100, 0);
        _exit(errno);
    }
    until_waiting(id, 0, GETNCNT);
    SHOW(semctl(id, 0, IPC_RMID));
    SHOW(outcome(child) == EIDRM);
    SHOW(op(id, 0, 1, 0) == -1 ? errno == EINVAL || errno == EIDRM : 0);

    SHOW(semget(IPC_PRIVATE, 0, 0600));
    SHOW(semget(IPC_PRIVATE, -1, 0600));
    SHOW(semget(IPC_PRIVATE, 32001, 0600));
    key_t key = 0x7650000 + getpid();
    int k = MUST(semget(key, 2, 0600 | IPC_CREAT));
    SHOW(semget(key, 3, 0600));
    SHOW(semget(key, 0, 0) == k);
    struct semid_ds d;
    SHOW(semctl(k, 0, IPC_STAT, &d));
    say("%lu semaphores, mode %o, otime %ld", d.sem_nsems, d.sem_perm.mode, (long)d.sem_otime);
    SHOW(semctl(k, 0, IPC_RMID));
    return 0;
}
