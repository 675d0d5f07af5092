/* msgget, msgsnd, msgrcv, msgctl: types, truncation, full queues, blocking, removal. */
#include "check.h"
#include <sys/ipc.h>
#include <sys/msg.h>

#ifndef MSG_COPY
#define MSG_COPY 040000
#endif

struct message {
    long type;
    char text[9000];
};

static int put(int id, long type, const char *text, int flags)
{
    struct message m = {.type = type};
    strcpy(m.text, text);
    return msgsnd(id, &m, strlen(text), flags);
}

static void receive(int id, long type, size_t size, int flags)
{
    struct message m = {0};
    errno = 0;
    long n = msgrcv(id, &m, size, type, flags);
    if (n < 0)
        say("receive %ld: %s", type, strerrorname_np(errno));
    else
        say("receive %ld: %ld bytes of type %ld: %s", type, n, m.type, m.text);
}

int main(void)
{
    int id = MUST(msgget(IPC_PRIVATE, 0600));
    SHOW(put(id, 3, "three", 0));
    SHOW(put(id, 1, "one", 0));
    SHOW(put(id, 2, "two", 0));
    SHOW(put(id, 1, "", 0));
    SHOW(put(id, 0, "zero", 0));
    SHOW(put(id, -1, "minus", 0));
    receive(id, -2, 100, 0);
    receive(id, 3, 2, 0);
    receive(id, 3, 2, MSG_NOERROR);
    receive(id, 9, 100, IPC_NOWAIT);
    receive(id, 1, 100, MSG_EXCEPT);
    receive(id, 0, 100, 0);
    receive(id, 0, 100, IPC_NOWAIT);
    struct msqid_ds d;
    SHOW(msgctl(id, IPC_STAT, &d));
    say("%lu messages, %lu bytes of %lu, sender %d receiver %d", d.msg_qnum, d.__msg_cbytes, d.msg_qbytes,
        d.msg_lspid == getpid(), d.msg_lrpid == getpid());

    struct message big = {.type = 1};
    SHOW(msgsnd(id, &big, 8193, 0));
    SHOW(msgsnd(id, &big, -1, 0));
    SHOW(msgsnd(id, (void *)8, 1, 0));
    SHOW(msgsnd(id, &big, 8192, 0));
    SHOW(msgsnd(id, &big, 8192, 0));
    SHOW(msgsnd(id, &big, 1, IPC_NOWAIT));
    SHOW(msgsnd(id, &big, 0, IPC_NOWAIT));
    pid_t child = fork();
    if (child == 0) {
        _exit(put(id, 5, "waited for room", 0) == 0 ? 0 : errno);
    }
    usleep(50000);
    SHOW(waitpid(child, NULL, WNOHANG));
    SHOW(msgrcv(id, &big, sizeof big.text, 0, 0));
    waitpid(child, NULL, 0);
    receive(id, 5, 100, 0);
    SHOW(msgrcv(id, &big, sizeof big.text, 0, 0));
    SHOW(msgrcv(id, &big, sizeof big.text, 0, 0));

    if ((child = fork()) == 0) {
        if (msgrcv(id, &big, 100, 7, 0) != 8)
            _exit(1);
        msgrcv(id, &big, 100, 8, 0);
        _exit(errno);
    }
    usleep(20000);
    SHOW(put(id, 6, "not this", 0));
    SHOW(put(id, 7, "but this", 0));
    usleep(50000);
    SHOW(waitpid(child, NULL, WNOHANG));
    SHOW(msgctl(id, IPC_RMID, NULL));
    int status;
    MUST(waitpid(child, &status, 0));
    SHOW(WEXITSTATUS(status) == EIDRM);
    SHOW(put(id, 1, "x", 0) == -1 ? errno == EINVAL || errno == EIDRM : 0);

    key_t key = 0x1230000 + getpid();
    id = MUST(msgget(key, 0600 | IPC_CREAT | IPC_EXCL));
    SHOW(msgget(key, 0600 | IPC_CREAT | IPC_EXCL));
    SHOW(msgget(key, 0) == id);
    SHOW(put(id, 4, "first", 0));
    SHOW(put(id, 5, "second", 0));
    receive(id, 1, 100, MSG_COPY | IPC_NOWAIT);
    receive(id, 2, 100, MSG_COPY | IPC_NOWAIT);
    receive(id, 0, 100, MSG_COPY);
    receive(id, 0, 100, 0);
    SHOW(msgctl(id, IPC_RMID, NULL));
    SHOW(msgget(key, 0));
    return 0;
}
