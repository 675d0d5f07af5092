//@ root=only
/* IPC, network, mount and cgroup namespaces: what is in one is not in the other. */
#include "check.h"
#include "step.h"
#include <arpa/inet.h>
#include <mqueue.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/un.h>

static void ipc(void)
{
    /* Other tests run beside this one. */
    int key = 0x1000000 + getpid();
    char name[32];
    snprintf(name, sizeof name, "/of-ours-%d", getpid());
    int id = MUST(shmget(key, 4096, IPC_CREAT | IPC_EXCL | 0600));
    int queue = MUST(msgget(key, IPC_CREAT | IPC_EXCL | 0600));
    mqd_t mq = MUST(mq_open(name, O_RDWR | O_CREAT, 0600, NULL));
    pid_t pid = fork();
    if (pid == 0) {
        SHOW(unshare(CLONE_NEWIPC));
        SHOW(shmget(key, 4096, 0600));
        SHOW(msgget(key, 0600));
        SHOW(shmctl(id, IPC_RMID, NULL));
        SHOW(mq_open(name, O_RDWR));
        SHOW(shmget(key, 8192, IPC_CREAT | IPC_EXCL | 0600));
        SHOW(mq_unlink(name));
        /* A descriptor still leads where it led. */
        SHOW(mq_send(mq, "x", 1, 0));
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    struct mq_attr attr;
    MUST(mq_getattr(mq, &attr));
    say("messages %ld", attr.mq_curmsgs);
    SHOW(shmctl(id, IPC_RMID, NULL));
    SHOW(msgctl(queue, IPC_RMID, NULL));
    SHOW(mq_unlink(name));
}

static int flags_of_lo(int fd)
{
    struct ifreq r = {.ifr_name = "lo"};
    MUST(ioctl(fd, SIOCGIFFLAGS, &r));
    return r.ifr_flags & (IFF_UP | IFF_LOOPBACK);
}

static void net(void)
{
    struct sockaddr_un name = {AF_UNIX, ""};
    socklen_t len = offsetof(struct sockaddr_un, sun_path) + 1 + sprintf(name.sun_path + 1, "of-ours-%d", getpid());
    int here = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    MUST(bind(here, (void *)&name, len));
    MUST(listen(here, 1));
    MUST(unshare(CLONE_NEWNET));
    int s = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    SHOW(connect(s, (void *)&name, len));
    SHOW(bind(s, (void *)&name, len));
    int t = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in lo = {.sin_family = AF_INET, .sin_port = htons(4321), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    say("flags %#x", flags_of_lo(t));
    SHOW(connect(t, (void *)&lo, sizeof lo));
    struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    SHOW(ioctl(t, SIOCGIFADDR, &r));
    r.ifr_flags = IFF_UP;
    SHOW(ioctl(t, SIOCSIFFLAGS, &r));
    say("flags %#x", flags_of_lo(t));
    SHOW(ioctl(t, SIOCGIFADDR, &r));
    SHOW(connect(t, (void *)&lo, sizeof lo));
    close(t);
    t = MUST(socket(AF_INET, SOCK_STREAM, 0));
    SHOW(bind(t, (void *)&lo, sizeof lo));
    SHOW(listen(t, 1));
    int c = MUST(socket(AF_INET, SOCK_STREAM, 0));
    SHOW(connect(c, (void *)&lo, sizeof lo));
    pid_t pid = fork();
    if (pid == 0) {
        MUST(unshare(CLONE_NEWNET));
        int other = MUST(socket(AF_INET, SOCK_STREAM, 0));
        struct ifreq up = {.ifr_name = "lo", .ifr_flags = IFF_UP};
        MUST(ioctl(other, SIOCSIFFLAGS, &up));
        SHOW(connect(other, (void *)&lo, sizeof lo));
        other = MUST(socket(AF_INET, SOCK_STREAM, 0));
        SHOW(bind(other, (void *)&lo, sizeof lo));
        _exit(0);
    }
    waitpid(pid, NULL, 0);
}

static void user_net(void)
{
    MUST(setresgid(1000, 1000, 1000));
    MUST(setresuid(1000, 1000, 1000));
    MUST(prctl(PR_SET_DUMPABLE, 1));
    int before = MUST(socket(AF_INET, SOCK_STREAM, 0));
    MUST(unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC));
    put_file("/proc/self/uid_map", "0 1000 1");
    struct sockaddr_in low = {.sin_family = AF_INET, .sin_port = htons(80)};
    int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    SHOW(bind(s, (void *)&low, sizeof low));
    struct ifreq r = {.ifr_name = "lo", .ifr_flags = 0};
    SHOW(ioctl(before, SIOCSIFFLAGS, &r));
    SHOW(ioctl(s, SIOCSIFFLAGS, &r));
}

static void mounts(void)
{
    MUST(mkdir("covered", 0755));
    put_file("covered/secret", "secret");
    MUST(unshare(CLONE_NEWNS));
    MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    MUST(mount("none", "covered", "tmpfs", MS_NOSUID | MS_NODEV | MS_RDONLY, NULL));
    MUST(chmod(".", 0777));
    MUST(setresgid(1000, 1000, 1000));
    MUST(setresuid(1000, 1000, 1000));
    MUST(prctl(PR_SET_DUMPABLE, 1));
    MUST(unshare(CLONE_NEWUSER | CLONE_NEWNS));
    put_file("/proc/self/uid_map", "0 1000 1");
    /* What was hidden, and how it was restricted, stays so. */
    SHOW(umount("covered"));
    SHOW(umount2("covered", MNT_DETACH));
    SHOW(mount(NULL, "covered", NULL, MS_REMOUNT | MS_BIND, NULL));
    SHOW(mount(NULL, "covered", NULL, MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | MS_RDONLY | MS_NOEXEC, NULL));
    SHOW(mount(NULL, "covered", NULL, MS_REMOUNT, "size=1m"));
    MUST(mkdir("other", 0755));
    SHOW(mount(".", "other", NULL, MS_BIND, NULL));
    SHOW(mount(".", "other", NULL, MS_BIND | MS_REC, NULL));
    SHOW(umount("other/covered"));
    SHOW(access("other/covered/secret", F_OK));
    /* Not even to who is still there when it is taken away as a whole. */
    int held = MUST(open("other", O_PATH | O_DIRECTORY));
    SHOW(umount2("other", MNT_DETACH));
    SHOW(faccessat(held, "covered/secret", F_OK, 0));
    SHOW(faccessat(held, "covered", F_OK, 0));
    close(held);
    SHOW(mount("none", "other", "tmpfs", 0, "mode=755"));
    struct stat st;
    MUST(stat("other", &st));
    say("tmpfs is of %u", st.st_uid);
    MUST(chdir("other"));
    /* The group has no number here yet. */
    SHOW(open("file", O_WRONLY | O_CREAT, 0644));
    put_file("/proc/self/setgroups", "deny");
    put_file("/proc/self/gid_map", "0 1000 1");
    put_file("file", "x");
    SHOW(chown("file", 0, -1));
    SHOW(chown("file", 1, -1));
    SHOW(mknod("node", S_IFCHR | 0600, 0x103));
    SHOW(mount(NULL, ".", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
    SHOW(mount(NULL, ".", NULL, MS_REMOUNT | MS_BIND, NULL));
    MUST(mkdir("sub", 0755));
    SHOW(mount("proc", "sub", "proc", 0, NULL));
    SHOW(mount("none", "sub", "no-such", 0, NULL));
    SHOW(mount("none", "sub", "mqueue", 0, NULL));
    SHOW(mount("none", "sub", "devpts", 0, "newinstance"));
    SHOW(umount("sub"));
    MUST(chdir(".."));
    SHOW(umount("other"));
}

/* What is a mount point for others alone can be removed. */
static void elsewhere(void)
{
    int ready[2], go[2];
    char c;
    MUST(mkdir("point", 0755));
    MUST(mkdir("moved", 0755));
    MUST(pipe(ready));
    MUST(pipe(go));
    pid_t pid = fork();
    if (pid == 0) {
        MUST(unshare(CLONE_NEWNS));
        MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
        MUST(mount("none", "point", "tmpfs", 0, NULL));
        MUST(mount("none", "moved", "tmpfs", 0, NULL));
        SHOW(rmdir("point"));
        SHOW(rename("moved", "away"));
        MUST(write(ready[1], "x", 1));
        MUST(read(go[0], &c, 1));
        _exit(0);
    }
    MUST(read(ready[0], &c, 1));
    SHOW(rmdir("point"));
    SHOW(rename("moved", "away"));
    MUST(write(go[1], "x", 1));
    waitpid(pid, NULL, 0);
    SHOW(rmdir("away"));
}

int main(void)
{
    step("ipc", ipc);
    step("net", net);
    step("user's net", user_net);
    step("mounts", mounts);
    step("mount points elsewhere", elsewhere);
    return 0;
}
