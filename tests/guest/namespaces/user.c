//@ root=only
/* User namespaces (user_namespaces(7)) made by an ordinary user: maps, capabilities, what root there may and may not. */
#include "check.h"
#include "step.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/nsfs.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/prctl.h>
#include <sys/utsname.h>

static void write_file(const char *name, const char *text)
{
    int fd = open(name, O_WRONLY);
    ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));
    say("%s << %s: %s", strrchr(name, '/') + 1, text, n < 0 ? strerrorname_np(errno) : "works");
    if (fd >= 0)
        close(fd);
}

static void ids(const char *when)
{
    uid_t r, e, s;
    MUST(getresuid(&r, &e, &s));
    say("%s: uid %u %u %u euid %u gid %u egid %u", when, r, e, s, geteuid(), getgid(), getegid());
}

static void caps(void)
{
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2];
    MUST(syscall(SYS_capget, &h, d));
    say("all effective %d inheritable %x", (d[0].effective & d[0].permitted) == 0xffffffff, d[0].inheritable);
}

static void become_user(void)
{
    MUST(setgroups(0, NULL));
    MUST(setresgid(1000, 1000, 1000));
    MUST(setresuid(1000, 1000, 1000));
    MUST(prctl(PR_SET_DUMPABLE, 1));
}

static void maps(void)
{
    become_user();
    ids("outside");
    show_file("/proc/self/setgroups");
    SHOW(unshare(CLONE_NEWUSER));
    ids("unmapped");
    caps();
    struct stat st;
    MUST(stat("/", &st));
    say("root directory is of %u %u", st.st_uid, st.st_gid);
    show_file("/proc/self/uid_map");
    SHOW(setresuid(0, 0, 0));
    SHOW(setgroups(0, NULL));
    SHOW(unshare(CLONE_NEWUSER));
    write_file("/proc/self/uid_map", "0 0 1");
    write_file("/proc/self/uid_map", "0 1001 1");
    write_file("/proc/self/uid_map", "0 1000 2");
    write_file("/proc/self/uid_map", "0 1000");
    write_file("/proc/self/uid_map", "");
    write_file("/proc/self/uid_map", "0 1000 0");
    write_file("/proc/self/uid_map", "0 1000 1\n1 1000 1");
    write_file("/proc/self/uid_map", "0 1000 1");
    write_file("/proc/self/uid_map", "0 1000 1");
    write_file("/proc/self/gid_map", "0 1000 1");
    write_file("/proc/self/setgroups", "no");
    write_file("/proc/self/setgroups", "deny");
    write_file("/proc/self/setgroups", "allow");
    write_file("/proc/self/gid_map", "5 1000 1\n");
    show_file("/proc/self/uid_map");
    show_file("/proc/self/gid_map");
    show_file("/proc/self/setgroups");
    ids("mapped");
    MUST(stat("/", &st));
    say("root directory is of %u %u", st.st_uid, st.st_gid);
    SHOW(setresuid(1, 1, 1));
    SHOW(setresuid(0, 0, 0));
    SHOW(setuid(1000));
    SHOW(setgroups(0, NULL));
    SHOW(setgid(5));
    caps();
    /* Nested: what is mapped here can be mapped below. */
    SHOW(unshare(CLONE_NEWUSER));
    ids("nested");
    write_file("/proc/self/uid_map", "7 1000 1");
    write_file("/proc/self/uid_map", "7 0 1");
    ids("nested, mapped");
    show_file("/proc/self/uid_map");
}

/* What root in a namespace of its own must not: everything of these fails natively. */
static void powerless(void)
{
    int dir = MUST(open(".", O_RDONLY | O_DIRECTORY));
    put_file("roots", "secret");
    MUST(chmod("roots", 0600));
    put_file("setuid", "");
    MUST(chmod("setuid", 04755));
    MUST(mkdir("closed", 0700));
    /* It cannot be killed any more later: it ends with the pipe. */
    int alive[2];
    MUST(pipe(alive));
    pid_t rootly = fork();
    if (rootly == 0) {
        char c;
        close(alive[1]);
        (void)!read(alive[0], &c, 1);
        _exit(0);
    }
    become_user();
    MUST(unshare(CLONE_NEWUSER));
    write_file("/proc/self/uid_map", "0 1000 1");
    write_file("/proc/self/setgroups", "deny");
    write_file("/proc/self/gid_map", "0 1000 1");
    SHOW(openat(dir, "roots", O_RDONLY));
    SHOW(openat(dir, "roots", O_RDWR));
    SHOW(openat(dir, "closed/x", O_RDWR | O_CREAT, 0600));
    SHOW(fchmodat(dir, "roots", 0777, 0));
    SHOW(fchownat(dir, "roots", 0, 0, 0));
    SHOW(fchownat(dir, "roots", 1000, 1000, 0));
    SHOW(unlinkat(dir, "roots", 0));
    SHOW(mknodat(dir, "node", S_IFCHR | 0600, makedev(1, 3)));
    SHOW(linkat(dir, "setuid", dir, "again", 0));
    SHOW(utimensat(dir, "roots", NULL, 0));
    SHOW(kill(rootly, SIGTERM));
    SHOW(kill(rootly, 0));
    char path[64], text[64];
    snprintf(path, sizeof path, "/proc/%d/mem", rootly);
    SHOW(open(path, O_RDONLY) >= 0 ? 0 : -1);
    snprintf(path, sizeof path, "/proc/%d/cwd", rootly);
    SHOW(readlink(path, text, sizeof text));
    snprintf(path, sizeof path, "/proc/%d/ns/user", rootly);
    SHOW(open(path, O_RDONLY) >= 0 ? 0 : -1);
    struct iovec v = {text, 1};
    SHOW(process_vm_readv(rootly, &v, 1, &v, 1, 0));
    SHOW(setpriority(PRIO_PROCESS, rootly, 5));
    struct rlimit limit = {1, 1};
    SHOW(prlimit(rootly, RLIMIT_NOFILE, &limit, NULL));
    SHOW(sethostname("mine", 4));
    SHOW(mount("none", "/tmp", "tmpfs", 0, NULL));
    SHOW(umount2("/proc", MNT_DETACH));
    SHOW(unshare(CLONE_NEWUSER | CLONE_NEWUTS));
    SHOW(sethostname("mine", 4));
    SHOW(setpriority(PRIO_PROCESS, 0, -5));
    SHOW(settimeofday(&(struct timeval){1, 1}, NULL));
    SHOW(syscall(SYS_reboot, 0, 0, 0, 0));
}

static void owner(void)
{
    become_user();
    int go[2], ready[2];
    MUST(pipe(go));
    MUST(pipe(ready));
    pid_t pid = fork();
    if (pid == 0) {
        char c;
        MUST(unshare(CLONE_NEWUSER | CLONE_NEWUTS | CLONE_NEWNS));
        MUST(write(ready[1], "x", 1));
        MUST(read(go[0], &c, 1));
        ids("child");
        MUST(write(ready[1], "x", 1));
        pause();
    }
    char c, path[64];
    MUST(read(ready[0], &c, 1));
    snprintf(path, sizeof path, "/proc/%d/setgroups", pid);
    write_file(path, "deny");
    snprintf(path, sizeof path, "/proc/%d/uid_map", pid);
    write_file(path, "3 1000 1");
    char map[128];
    int fd = MUST(open(path, O_RDONLY));
    map[MUST(read(fd, map, sizeof map - 1))] = 0;
    close(fd);
    say("seen from outside: %s", map);
    snprintf(path, sizeof path, "/proc/%d/gid_map", pid);
    write_file(path, "4 1000 1");
    MUST(write(go[1], "x", 1));
    MUST(read(ready[0], &c, 1));
    snprintf(path, sizeof path, "/proc/%d/ns/user", pid);
    int user = MUST(open(path, O_RDONLY));
    uid_t uid = 5;
    SHOW(ioctl(user, NS_GET_OWNER_UID, &uid));
    say("owner %u", uid);
    SHOW(ioctl(user, NS_GET_PARENT) >= 0 ? 0 : -1);
    snprintf(path, sizeof path, "/proc/%d/ns/uts", pid);
    int uts = MUST(open(path, O_RDONLY));
    /* Its rights there are not enough as long as it is here. */
    SHOW(setns(uts, 0));
    SHOW(setns(user, 0));
    ids("entered");
    caps();
    SHOW(setns(uts, 0));
    SHOW(sethostname("from outside", 12));
    struct utsname names;
    MUST(uname(&names));
    say("name %s", names.nodename);
    SHOW(setns(user, 0));
    SHOW(kill(pid, SIGKILL));
    waitpid(pid, NULL, 0);
}

static void deepest(void)
{
    int depth = 0;
    while (unshare(CLONE_NEWUSER) == 0) {
        put_file("/proc/self/uid_map", "0 0 1");
        put_file("/proc/self/setgroups", "deny");
        put_file("/proc/self/gid_map", "0 0 1");
        depth++;
    }
    say("after %d: %s", depth, strerrorname_np(errno));
}

static void chrooted(void)
{
    MUST(mkdir("jail", 0755));
    MUST(chroot("jail"));
    SHOW(unshare(CLONE_NEWUSER));
}

int main(void)
{
    MUST(chmod(".", 0777));
    step("maps", maps);
    step("powerless", powerless);
    step("owner", owner);
    step("deepest", deepest);
    step("chrooted", chrooted);
    return 0;
}
