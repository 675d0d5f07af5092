/* Capability sets, secure bits, ambient capabilities, no_new_privs, and execve. */
//@ root=only
#include "check.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>

static void caps(const char *what)
{
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2];
    MUST(syscall(SYS_capget, &h, d));
    /* Only some: which capabilities root has at all differs. */
    unsigned mask = 1 << CAP_KILL | 1 << CAP_CHOWN | 1 << CAP_SETUID;
    say("%s: effective %x permitted %x inheritable %x", what, d[0].effective & mask, d[0].permitted & mask, d[0].inheritable & mask);
}
static long set(unsigned effective, unsigned permitted, unsigned inheritable)
{
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2] = {{effective, permitted, inheritable}};
    return syscall(SYS_capset, &h, d);
}
static void in_child(void (*body)(void))
{
    fflush(stdout);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        body();
        fflush(stdout);
        _exit(0);
    }
    int status;
    MUST(waitpid(pid, &status, 0));
    if (status)
        show_status("child", status);
}
static unsigned all(void)
{
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2];
    MUST(syscall(SYS_capget, &h, d));
    return d[0].permitted;
}
static char *self;
static void again(const char *what)
{
    fflush(stdout);
    execl(self, self, what, NULL);
    say("exec: %s", strerror(errno));
}

static void leave_root(void)
{
    MUST(setresuid(1000, 1000, 1000));
    caps("after leaving root");
    SHOW(setuid(0));
}
static void keep(void)
{
    SHOW(prctl(PR_SET_KEEPCAPS, 1));
    SHOW(prctl(PR_SET_KEEPCAPS, 2));
    MUST(setresuid(1000, 1000, 1000));
    caps("kept");
    SHOW(set(1 << CAP_KILL, 1 << CAP_KILL | 1 << CAP_SETUID, 1 << CAP_KILL));
    caps("set");
    SHOW(set(1 << CAP_CHOWN, 1 << CAP_KILL, 0));
    SHOW(set(0, 1 << CAP_KILL | 1 << CAP_CHOWN, 0));
    SHOW(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));
    SHOW(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SETUID, 0, 0));
    SHOW(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0));
    SHOW(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, 99, 0, 0));
    SHOW(prctl(PR_CAP_AMBIENT, 9, CAP_KILL, 0, 0));
    SHOW(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 1, 0, 0));
    again("ambient after exec");
}
static void drop_bounding(void)
{
    SHOW(prctl(PR_CAPBSET_DROP, CAP_CHOWN));
    SHOW(prctl(PR_CAPBSET_READ, CAP_CHOWN));
    SHOW(prctl(PR_CAPBSET_DROP, 99));
    caps("dropped from the bounding set");
    again("root after exec without CHOWN");
}
static void noroot(void)
{
    SHOW(prctl(PR_GET_SECUREBITS));
    SHOW(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED));
    SHOW(prctl(PR_SET_SECUREBITS, 0));
    SHOW(prctl(PR_SET_SECUREBITS, 0x1000));
    again("root that is nobody special");
}
static void no_new_privs(void)
{
    SHOW(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
    SHOW(prctl(PR_SET_NO_NEW_PRIVS, 1, 1, 0, 0));
    SHOW(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    SHOW(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    MUST(set(1 << CAP_KILL, 1 << CAP_KILL, 0));
    again("root with no_new_privs regains nothing");
}
static void lowered(void)
{
    MUST(set(0, 0, 0));
    SHOW(setuid(5));
    SHOW(setgroups(0, NULL));
    SHOW(prctl(PR_CAPBSET_DROP, CAP_KILL));
    SHOW(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT));
    again("root that lowered all");
}

int main(int argc, char **argv)
{
    self = argv[0];
    if (argc > 1) {
        caps(argv[1]);
        say("ambient KILL %d", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0));
        return 0;
    }
    (void)all;
    caps("root");
    in_child(leave_root);
    in_child(keep);
    in_child(drop_bounding);
    in_child(noroot);
    in_child(no_new_privs);
    in_child(lowered);
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 1 << 21};
    struct __user_cap_data_struct d[2] = {{0}};
    SHOW(syscall(SYS_capget, &h, d));
    h.pid = -1;
    SHOW(syscall(SYS_capget, &h, d));
    h.pid = 1 << 21;
    SHOW(syscall(SYS_capset, &h, d));
    h.version = _LINUX_CAPABILITY_VERSION_1;
    h.pid = 0;
    SHOW(syscall(SYS_capget, &h, d));
    h.version = 7;
    SHOW(syscall(SYS_capset, &h, d));
    SHOW(syscall(SYS_capget, 8, d));
    SHOW(prctl(PR_SET_DUMPABLE, 1));
    MUST(seteuid(1));
    SHOW(prctl(PR_GET_DUMPABLE));
    return 0;
}
