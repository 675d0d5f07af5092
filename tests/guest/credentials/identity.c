/* User and group ids, permissions as somebody else, capabilities. */
//@ root=only
#include "check.h"
#include <grp.h>
#include <linux/capability.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>

static void as(uid_t uid, void (*body)(void))
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        MUST(setgroups(0, NULL));
        MUST(setresgid(uid, uid, uid));
        MUST(setresuid(uid, uid, uid));
        body();
        fflush(stdout);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
}

static void stranger(void)
{
    SHOW(getuid());
    SHOW(open("private", O_RDONLY));
    SHOW(open("public", O_RDONLY) >= 0);
    SHOW(open("public", O_WRONLY));
    SHOW(access("private", R_OK));
    SHOW(access("private", F_OK));
    SHOW(open("closed/inside", O_RDONLY));
    SHOW(unlink("public"));
    SHOW(chmod("public", 0777));
    SHOW(chown("public", 1234, 1234));
    SHOW(setuid(0));
    SHOW(setresuid(-1, 0, -1));
    SHOW(setgroups(0, NULL));
    SHOW(kill(getppid(), 0));
    SHOW(mkdir("sticky/mine", 0700));
    SHOW(unlink("sticky/not-mine"));
    SHOW(rename("sticky/not-mine", "sticky/mine"));
    SHOW(rmdir("sticky/mine"));
    SHOW(setpriority(PRIO_PROCESS, 0, -5));
    SHOW(sethostname("x", 1));
    SHOW(chroot("/"));
    SHOW(mknod("sticky/device", S_IFCHR | 0600, 0x103));
    SHOW(link("private", "sticky/link") == -1);
    SHOW(truncate("public", 0));
    SHOW(utimes("public", NULL));
    SHOW(execl("private", "private", NULL));
}

static void saved(void)
{
    uid_t r, e, s;
    SHOW(getresuid(&r, &e, &s));
    say("%d %d %d", r, e, s);
}

int main(void)
{
    uid_t r, e, s;
    umask(022);
    put_file("private", "secret");
    MUST(chmod("private", 0600));
    put_file("public", "known");
    MUST(mkdir("closed", 0700));
    put_file("closed/inside", "x");
    MUST(mkdir("sticky", 0777));
    MUST(chmod("sticky", 01777));
    put_file("sticky/not-mine", "x");
    MUST(chmod(".", 0755));
    as(1234, stranger);
    as(4321, saved);
    SHOW(setresuid(1, 2, 3));
    SHOW(getresuid(&r, &e, &s));
    say("%d %d %d", r, e, s);
    SHOW(seteuid(3));
    SHOW(seteuid(4));
    SHOW(setreuid(3, 1));
    SHOW(getresuid(&r, &e, &s));
    say("%d %d %d", r, e, s);
    SHOW(setfsuid(2) >= 0);
    SHOW(prctl(PR_GET_KEEPCAPS));
    SHOW(prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN));
    SHOW(prctl(PR_CAPBSET_READ, 63));
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2];
    SHOW(syscall(SYS_capget, &h, d));
    say("effective %x", d[0].effective);
    h.version = 1;
    SHOW(syscall(SYS_capget, &h, NULL));
    say("version %x", h.version);
    return 0;
}
