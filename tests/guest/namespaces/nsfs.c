//@ root=only
/* /proc/PID/ns: links, descriptors, ioctls of ioctl_ns(2), setns(2) by descriptor and by pidfd, bind mounts. */
#include "check.h"
#include <linux/nsfs.h>
#include <sys/mount.h>
#include <sys/vfs.h>

static const char *const kinds[] = {"cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "time_for_children", "user", "uts"};

static int open_ns(const char *kind)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/ns/%s", kind);
    return MUST(open(path, O_RDONLY | O_CLOEXEC));
}

static ino_t number(const char *who, const char *kind)
{
    char path[64];
    struct stat s;
    snprintf(path, sizeof path, "/proc/%s/ns/%s", who, kind);
    MUST(stat(path, &s));
    return s.st_ino;
}

static void links(void)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char path[64], text[64], wanted[64];
        struct stat s, f;
        struct statfs fs;
        snprintf(path, sizeof path, "/proc/self/ns/%s", kinds[i]);
        ssize_t n = MUST(readlink(path, text, sizeof text - 1));
        text[n] = 0;
        MUST(stat(path, &s));
        int fd = open_ns(kinds[i]);
        MUST(fstat(fd, &f));
        MUST(fstatfs(fd, &fs));
        snprintf(wanted, sizeof wanted, "%.*s:[%lu]", (int)strcspn(kinds[i], "_"), kinds[i], s.st_ino);
        char c;
        say("%s: text %d same %d mode %o magic %lx type %#x read %s", kinds[i], !strcmp(text, wanted),
            s.st_ino == f.st_ino && s.st_dev == f.st_dev, s.st_mode, (long)fs.f_type, ioctl(fd, NS_GET_NSTYPE),
            read(fd, &c, 1) < 0 ? strerrorname_np(errno) : "works");
        close(fd);
    }
}

static void ioctls(void)
{
    int uts = open_ns("uts"), user = open_ns("user"), pid = open_ns("pid");
    uid_t uid = 77;
    SHOW(ioctl(uts, NS_GET_PARENT));
    SHOW(ioctl(uts, NS_GET_OWNER_UID, &uid));
    SHOW(ioctl(user, NS_GET_OWNER_UID, &uid));
    say("owner %u", uid);
    SHOW(ioctl(user, NS_GET_PARENT));
    SHOW(ioctl(user, NS_GET_USERNS));
    SHOW(ioctl(pid, NS_GET_PARENT));
    SHOW(ioctl(uts, 0xb7ff));
    int owner = MUST(ioctl(uts, NS_GET_USERNS));
    struct stat a, b;
    MUST(fstat(owner, &a));
    MUST(fstat(user, &b));
    say("owner is own %d", a.st_ino == b.st_ino);
    close(owner), close(uts), close(user), close(pid);
}

static void enter_and_leave(void)
{
    char name[65];
    int old = open_ns("uts");
    ino_t before = number("self", "uts");
    MUST(unshare(CLONE_NEWUTS));
    MUST(sethostname("elsewhere", 9));
    say("another %d", number("self", "uts") != before);
    int new = open_ns("uts");
    SHOW(setns(old, CLONE_NEWNET));
    SHOW(setns(old, 0));
    say("back %d", number("self", "uts") == before);
    MUST(gethostname(name, sizeof name));
    say("old name %d", strcmp(name, "elsewhere") != 0);
    SHOW(setns(new, CLONE_NEWUTS));
    MUST(gethostname(name, sizeof name));
    say("name %s", name);
    SHOW(setns(old, CLONE_NEWUTS));
    close(old), close(new);
}

static void errors(void)
{
    int user = open_ns("user"), file = MUST(open("/proc/self/stat", O_RDONLY)), uts = open_ns("uts");
    SHOW(setns(-1, 0));
    SHOW(setns(file, 0));
    SHOW(setns(file, CLONE_NEWUTS));
    SHOW(setns(user, 0));
    SHOW(unshare(CLONE_NEWUTS | 1));
    SHOW(unshare(CLONE_VFORK));
    pid_t pid = fork();
    if (pid == 0) {
        MUST(setresuid(1000, 1000, 1000));
        SHOW(setns(uts, 0));
        SHOW(unshare(CLONE_NEWUTS));
        SHOW(unshare(CLONE_NEWNS));
        SHOW(unshare(CLONE_NEWPID));
        SHOW(unshare(CLONE_NEWNET));
        SHOW(unshare(CLONE_NEWIPC));
        SHOW(unshare(CLONE_NEWCGROUP));
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    close(user), close(file), close(uts);
}

static void by_pidfd(void)
{
    int ready[2];
    MUST(pipe(ready));
    pid_t pid = fork();
    if (pid == 0) {
        MUST(unshare(CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWCGROUP));
        MUST(sethostname("of the child", 12));
        MUST(write(ready[1], "x", 1));
        pause();
    }
    char c, name[65], who[16];
    MUST(read(ready[0], &c, 1));
    snprintf(who, sizeof who, "%d", pid);
    pid_t visitor = fork();
    if (visitor == 0) {
        int fd = MUST(syscall(SYS_pidfd_open, pid, 0));
        SHOW(setns(fd, 0));
        SHOW(setns(fd, 1));
        SHOW(setns(fd, CLONE_NEWUSER));
        SHOW(setns(fd, CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP | CLONE_NEWNS));
        const char *same[] = {"uts", "ipc", "net", "cgroup", "mnt"};
        for (int i = 0; i < 5; i++)
            say("%s the same %d", same[i], number("self", same[i]) == number(who, same[i]));
        MUST(gethostname(name, sizeof name));
        say("name %s", name);
        kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
        _exit(0);
    }
    int status;
    waitpid(pid, NULL, 0);
    waitpid(visitor, &status, 0);
    show_status("visitor", status);
}

static void bound(void)
{
    MUST(unshare(CLONE_NEWNS));
    MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    MUST(mkdir("ns-test", 0700));
    MUST(mount("none", "ns-test", "tmpfs", 0, NULL));
    put_file("ns-test/uts", "");
    put_file("ns-test/mnt", "");
    MUST(unshare(CLONE_NEWUTS));
    MUST(sethostname("kept", 4));
    SHOW(mount("/proc/self/ns/uts", "ns-test/uts", NULL, MS_BIND, NULL));
    SHOW(mount("/proc/self/ns/mnt", "ns-test/mnt", NULL, MS_BIND, NULL));
    MUST(unshare(CLONE_NEWUTS));
    MUST(sethostname("other", 5));
    int fd = MUST(open("ns-test/uts", O_RDONLY));
    SHOW(setns(fd, CLONE_NEWUTS));
    close(fd);
    char name[65];
    MUST(gethostname(name, sizeof name));
    say("name %s", name);
    SHOW(umount("ns-test/uts"));
    SHOW(umount("ns-test"));
    SHOW(rmdir("ns-test"));
}

int main(void)
{
    links();
    ioctls();
    enter_and_leave();
    errors();
    by_pidfd();
    bound();
    return 0;
}
