//@ root=only
/* /proc/sys/kernel/{msg,sem,shm}_next_id: the next System V object gets this id, or one beside it. */
#include "check.h"
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

static char path[64];

static long value(void)
{
    char text[32] = "";
    int fd = MUST(open(path, O_RDONLY));
    MUST(read(fd, text, sizeof text - 1));
    close(fd);
    return atol(text);
}

static const char *set(const char *text)
{
    int fd = MUST(open(path, O_WRONLY));
    ssize_t n = write(fd, text, strlen(text));
    const char *result = n < 0 ? strerrorname_np(errno) : "written";
    close(fd);
    return result;
}

static int shm(int key) { return shmget(key, 4096, IPC_CREAT | 0600); }
static int msg(int key) { return msgget(key, IPC_CREAT | 0600); }
static int sem(int key) { return semget(key, 1, IPC_CREAT | 0600); }

static void kind(const char *name, int (*make)(int))
{
    snprintf(path, sizeof path, "/proc/sys/kernel/%s_next_id", name);
    say("%s: %ld", name, value());
    say("-1: %s", set("-1"));
    say("x: %s", set("x"));
    say("large: %s", set("4294967296"));
    say("%ld", value());
    /* Sequence 3, index 7. */
    say("98311: %s", set("98311\n"));
    say("%ld", value());
    SHOW(make(1));
    say("%ld", value());
    say("again: %s", set("98311"));
    SHOW(make(2));
    say("with the same key: %s", set("131072"));
    SHOW(make(2));
    say("%ld", value());
    SHOW(make(IPC_PRIVATE));
    say("%ld", value());
}

int main(void)
{
    MUST(unshare(CLONE_NEWIPC));
    kind("shm", shm);
    kind("msg", msg);
    kind("sem", sem);
    SHOW(shmctl(98311, IPC_RMID, NULL));
    SHOW(msgctl(98311, IPC_RMID, NULL));
    SHOW(semctl(98312, 0, IPC_RMID));
    SHOW(semctl(98312, 0, GETVAL));
    return 0;
}
