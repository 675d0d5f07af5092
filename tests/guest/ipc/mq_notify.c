/* mq_notify with SIGEV_THREAD: by the C library, and by hand on its netlink socket. */
//@ cflags=-pthread
#include "check.h"
#include <linux/netlink.h>
#include <mqueue.h>
#include <pthread.h>
#include <semaphore.h>

static sem_t came;

static void on_message(union sigval v)
{
    say("thread: %d", v.sival_int);
    sem_post(&came);
}

static void cookies(int s)
{
    unsigned char b[64];
    ssize_t n;
    while ((n = recv(s, b, sizeof b, MSG_DONTWAIT)) >= 0)
        say("cookie of %zd: %c ... %d", n, b[0], n ? b[n - 1] : -1);
    say("then %s", strerrorname_np(errno));
}

int main(void)
{
    char name[32], b[64];
    snprintf(name, sizeof name, "/notify%d", getpid());
    struct mq_attr a = {.mq_maxmsg = 4, .mq_msgsize = 64};
    mqd_t q = MUST(mq_open(name, O_RDWR | O_CREAT, 0600, &a));
    MUST(mq_unlink(name));
    MUST(sem_init(&came, 0, 0));
    struct sigevent e = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = on_message, .sigev_value.sival_int = 5};
    for (int i = 0; i < 2; i++) {
        SHOW(mq_notify(q, &e));
        SHOW(mq_notify(q, &e));
        MUST(mq_send(q, "m", 1, 0));
        sem_wait(&came);
        MUST(mq_receive(q, b, sizeof b, NULL));
        e.sigev_value.sival_int++;
    }
    SHOW(mq_notify(q, NULL));

    char cookie[32];
    memset(cookie, 'c', sizeof cookie);
    int s = MUST(socket(AF_NETLINK, SOCK_RAW, 0)), p[2];
    MUST(pipe(p));
    struct sigevent raw = {.sigev_notify = SIGEV_THREAD, .sigev_signo = s, .sigev_value.sival_ptr = cookie};
    SHOW(syscall(SYS_mq_notify, q, &raw));
    SHOW(read(q, b, sizeof b) > 0);
    say("%.19s", strstr(b, "NOTIFY"));
    MUST(mq_send(q, "m", 1, 0));
    cookies(s);
    MUST(mq_receive(q, b, sizeof b, NULL));
    SHOW(syscall(SYS_mq_notify, q, &raw));
    SHOW(mq_notify(q, NULL));
    cookies(s);
    SHOW(syscall(SYS_mq_notify, q, &raw));
    close(dup(q));
    cookies(s);
    raw.sigev_signo = p[0];
    SHOW(syscall(SYS_mq_notify, q, &raw));
    raw.sigev_signo = 99;
    SHOW(syscall(SYS_mq_notify, q, &raw));
    raw.sigev_signo = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    SHOW(syscall(SYS_mq_notify, q, &raw));
    raw.sigev_value.sival_ptr = (void *)8;
    SHOW(syscall(SYS_mq_notify, q, &raw));
    raw.sigev_notify = 7;
    SHOW(syscall(SYS_mq_notify, q, &raw));
    return 0;
}
