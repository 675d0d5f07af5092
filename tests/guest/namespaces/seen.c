//@ root=only
/* How processes and ids are called across namespaces: SCM_CREDENTIALS, SO_PEERCRED, siginfo, F_GETOWN, waitid, System V objects. */
#include "check.h"
#include <grp.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/un.h>

static char stack[65536] __attribute__((aligned(16)));
static int pair[2];

static void receive(const char *who)
{
    char byte, control[CMSG_SPACE(sizeof(struct ucred))];
    struct iovec v = {&byte, 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    MUST(recvmsg(pair[0], &m, 0));
    struct ucred c;
    memcpy(&c, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof c);
    say("%s: pid %s uid %u gid %u", who, c.pid == 0 ? "0" : c.pid == 1 ? "1" : c.pid == getpid() ? "own" : "other", c.uid, c.gid);
}

static int give(pid_t pid, uid_t uid, gid_t gid)
{
    char byte = 'x', control[CMSG_SPACE(sizeof(struct ucred))] = {0};
    struct iovec v = {&byte, 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_CREDENTIALS;
    h->cmsg_len = CMSG_LEN(sizeof(struct ucred));
    memcpy(CMSG_DATA(h), &(struct ucred){pid, uid, gid}, sizeof(struct ucred));
    return sendmsg(pair[1], &m, 0);
}

static int sender(void *unused)
{
    MUST(write(pair[1], "x", 1));
    SHOW(give(getpid(), getuid(), getgid()));
    SHOW(give(77, getuid(), getgid()));
    SHOW(give(getpid(), 5, getgid()));
    return 0;
}

static int mapped_sender(void *unused)
{
    put_file("/proc/self/uid_map", "5 1000 1");
    put_file("/proc/self/setgroups", "deny");
    put_file("/proc/self/gid_map", "6 1000 1");
    say("uid %u gid %u pid %d", getuid(), getgid(), getpid());
    SHOW(give(getpid(), 5, 6));
    SHOW(give(getpid(), 1000, 6));
    SHOW(give(getppid(), 5, 6));
    struct ucred c;
    socklen_t len = sizeof c;
    MUST(getsockopt(pair[1], SOL_SOCKET, SO_PEERCRED, &c, &len));
    say("peer: pid %d uid %u gid %u", c.pid, c.uid, c.gid);
    MUST(write(pair[1], "x", 1));
    int owned[2];
    MUST(pipe(owned));
    SHOW(fcntl(owned[0], F_SETOWN, getpid()));
    SHOW(fcntl(owned[0], F_GETOWN));
    SHOW(fcntl(owned[0], F_SETOWN, 300));
    struct flock lock = {.l_type = F_WRLCK};
    put_file("locked", "x");
    int fd = MUST(open("locked", O_RDWR));
    SHOW(fcntl(fd, F_GETLK, &lock));
    pid_t child = fork();
    if (child == 0) {
        struct flock mine = {.l_type = F_WRLCK};
        MUST(fcntl(fd, F_SETLK, &mine));
        kill(getppid(), SIGUSR1);
        pause();
    }
    siginfo_t info;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    MUST(sigwaitinfo(&set, &info));
    say("signal of pid %d uid %u", info.si_pid, info.si_uid);
    lock = (struct flock){.l_type = F_WRLCK};
    MUST(fcntl(fd, F_GETLK, &lock));
    say("locked by %d", lock.l_pid);
    int id = MUST(shmget(IPC_PRIVATE, 4096, 0600));
    struct shmid_ds s;
    MUST(shmctl(id, IPC_STAT, &s));
    say("segment of uid %u gid %u pid %d", s.shm_perm.uid, s.shm_perm.gid, s.shm_cpid);
    MUST(shmctl(id, IPC_RMID, NULL));
    kill(child, SIGKILL);
    MUST(waitid(P_ALL, 0, &info, WEXITED));
    say("waited for pid %d uid %u", info.si_pid, info.si_uid);
    return 0;
}

int main(void)
{
    int on = 1;
    siginfo_t info;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    MUST(chmod(".", 0777));
    MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
    MUST(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));

    pid_t pid = MUST(clone(sender, stack + sizeof stack, CLONE_NEWPID | SIGCHLD, NULL));
    MUST(sigwaitinfo(&set, &info));
    say("SIGCHLD of it %d uid %u", info.si_pid == pid, info.si_uid);
    waitpid(pid, NULL, 0);
    receive("plain");
    receive("given");
    receive("given another uid");

    MUST(setgroups(0, NULL));
    MUST(setresgid(1000, 1000, 1000));
    MUST(setresuid(1000, 1000, 1000));
    MUST(prctl(PR_SET_DUMPABLE, 1));
    pid = MUST(clone(mapped_sender, stack + sizeof stack, CLONE_NEWUSER | CLONE_NEWPID | SIGCHLD, NULL));
    MUST(sigwaitinfo(&set, &info));
    say("SIGCHLD of it %d uid %u", info.si_pid == pid, info.si_uid);
    MUST(waitid(P_PID, pid, &info, WEXITED));
    say("waited for it %d uid %u", info.si_pid == pid, info.si_uid);
    receive("given");
    receive("plain");
    return 0;
}
