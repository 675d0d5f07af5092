/* shmget, shmat, shmdt, shmctl: sharing over fork, permissions, attach counts, removal while attached. */
#include "check.h"
#include <sys/ipc.h>
#include <sys/shm.h>

#define PAGE 4096

static void attached(int id)
{
    struct shmid_ds d;
    MUST(shmctl(id, IPC_STAT, &d));
    say("size %zu attached %lu mode %o creator %d last %d", d.shm_segsz, (unsigned long)d.shm_nattch, d.shm_perm.mode,
        d.shm_cpid == getpid(), d.shm_lpid == getpid());
}

int main(void)
{
    int id = MUST(shmget(IPC_PRIVATE, 3 * PAGE + 5, 0600 | IPC_CREAT));
    attached(id);
    char *a = MUST(shmat(id, NULL, 0));
    char *r = MUST(shmat(id, NULL, SHM_RDONLY));
    strcpy(a + PAGE, "seen by all");
    say("%s", r + PAGE);
    attached(id);
    SHOW(mprotect(r, PAGE, PROT_READ | PROT_WRITE));
    if (fork() == 0) {
        struct shmid_ds d;
        MUST(shmctl(id, IPC_STAT, &d));
        say("in the child %lu", (unsigned long)d.shm_nattch);
        strcpy(a, "from the child");
        SHOW(shmdt(r));
        _exit(0);
    }
    wait(NULL);
    say("%s", a);
    attached(id);
    SHOW(shmdt(a + PAGE));
    SHOW(shmdt(a + 1));
    SHOW(munmap(a + PAGE, PAGE));
    SHOW(shmdt(a));
    SHOW(shmdt(a));
    SHOW(msync(a, 4 * PAGE, MS_ASYNC));
    attached(id);

    /* At an address. */
    char *at = MUST(mmap(NULL, 8 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    SHOW(shmat(id, at, 0) == (void *)-1);
    SHOW(shmat(id, at, SHM_REMAP) == at);
    say("%s", at);
    SHOW(shmat(id, at + PAGE + 5, 0) == (void *)-1 ? errno == EINVAL : 0);
    SHOW(shmat(id, at + PAGE + 5, SHM_RND | SHM_REMAP) == at + PAGE);
    say("%s", at + PAGE);
    SHOW(shmdt(at + PAGE));
    SHOW(shmat(id, NULL, SHM_REMAP) == (void *)-1 ? errno == EINVAL : 0);
    SHOW(shmat(-1, NULL, 0) == (void *)-1 ? errno == EINVAL : 0);

    /* Removed while attached: still there, marked, and findable by id. */
    attached(id);
    SHOW(shmctl(id, IPC_RMID, NULL));
    attached(id);
    say("%s", r);
    char *again = shmat(id, NULL, 0);
    SHOW(again != (void *)-1);
    SHOW(shmdt(again));
    SHOW(shmdt(r));
    struct shmid_ds d;
    SHOW(shmctl(id, IPC_STAT, &d));

    /* Keys. */
    key_t key = 0x12340000 + 2 * getpid();
    SHOW(shmget(key, PAGE, 0600));
    int k = MUST(shmget(key, PAGE, 0600 | IPC_CREAT));
    SHOW(shmget(key, 0, 0) == k);
    SHOW(shmget(key, PAGE, 0600 | IPC_CREAT | IPC_EXCL));
    SHOW(shmget(key, 2 * PAGE, 0600));
    SHOW(shmget(key + 1, 0, 0600 | IPC_CREAT));
    struct shmid_ds set = {.shm_perm = {.uid = getuid(), .gid = getgid(), .mode = 0444}};
    SHOW(shmctl(k, IPC_SET, &set));
    attached(k);
    SHOW(shmctl(k, 99, NULL));
    SHOW(shmctl(k, IPC_STAT, (void *)8));
    SHOW(shmctl(k, IPC_RMID, NULL));
    SHOW(shmctl(k, IPC_RMID, NULL) == -1 ? errno == EINVAL || errno == EIDRM : 0);
    SHOW(shmget(key, PAGE, 0600));
    return 0;
}
