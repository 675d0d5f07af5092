//@ root=only
/* What mounts hide and restrict stays so for root of a user namespace that got them (mount_namespaces(7)). */
#include "check.h"
#include "step.h"
#include <sys/mount.h>

#define BENEATH 0x204 /* MOVE_MOUNT_BENEATH | MOVE_MOUNT_F_EMPTY_PATH */

static int tmpfs(const char *at)
{
    return mount("t", at, "tmpfs", 0, "mode=755");
}
static int make(const char *at, unsigned long how)
{
    return mount(NULL, at, NULL, how, NULL);
}
static int bind_to(const char *from, const char *to, unsigned long more)
{
    return mount(from, to, NULL, MS_BIND | more, NULL);
}
static int open_tree_(const char *at, unsigned flags)
{
    return syscall(SYS_open_tree, AT_FDCWD, at, flags);
}
static int beneath(int from, const char *to)
{
    return syscall(SYS_move_mount, from, "", AT_FDCWD, to, BENEATH);
}
static int setattr(const char *at, unsigned long set, unsigned long clear)
{
    unsigned long attr[4] = {set, clear, 0, 0};
    return syscall(SYS_mount_setattr, AT_FDCWD, at, 0, attr, sizeof attr);
}
static int place(const char *at)
{
    return MUST(open(at, O_PATH | O_DIRECTORY));
}

/* base/tree/hidden is covered; whoever goes on is root of a user namespace. */
static void hide(void)
{
    MUST(unshare(CLONE_NEWNS));
    MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    mkdir("base", 0755);
    MUST(tmpfs("base"));
    MUST(chdir("base"));
    MUST(mkdir("tree", 0755));
    MUST(mkdir("tree/hidden", 0755));
    MUST(mkdir("copy", 0755));
    MUST(mkdir("other", 0755));
    MUST(mkdir("other/sub", 0755));
    MUST(mkdir("new", 0755));
    put_file("tree/hidden/secret", "secret");
    MUST(tmpfs("tree/hidden"));
    MUST(unshare(CLONE_NEWUSER | CLONE_NEWNS));
    put_file("/proc/self/uid_map", "0 0 1");
    put_file("/proc/self/setgroups", "deny");
    put_file("/proc/self/gid_map", "0 0 1");
}

static void left_out(void)
{
    hide();
    SHOW(make("tree/hidden", MS_UNBINDABLE));
    SHOW(bind_to("tree", "copy", MS_REC));
    SHOW(bind_to("tree", "copy", 0));
    SHOW(bind_to(".", "copy", MS_REC));
    SHOW(access("copy/hidden/secret", F_OK));
    SHOW(open_tree_("tree", 1 | AT_RECURSIVE));
    SHOW(open_tree_("tree", 1));
    /* Not if it is elsewhere, nor if it is the namespace's own. */
    SHOW(tmpfs("other/sub"));
    SHOW(make("other/sub", MS_UNBINDABLE));
    put_file("other/sub/file", "x");
    SHOW(bind_to("other", "copy", MS_REC));
    SHOW(access("copy/sub", F_OK));
    SHOW(access("copy/sub/file", F_OK));
    SHOW(umount("copy"));
    SHOW(make("tree/hidden", MS_PRIVATE));
    SHOW(bind_to("tree", "copy", MS_REC));
    SHOW(access("copy/hidden", F_OK));
    SHOW(access("copy/hidden/secret", F_OK));
}

static void under(void)
{
    hide();
    SHOW(tmpfs("new"));
    put_file("new/mark", "x");
    int new = place("new");
    SHOW(beneath(new, "tree/hidden"));
    SHOW(beneath(new, "tree"));
    SHOW(umount("tree/hidden"));
    SHOW(access("tree/hidden/secret", F_OK));
    SHOW(access("tree/hidden/mark", F_OK));
    /* What is covered itself, and what is mounted on it. */
    SHOW(tmpfs("other"));
    SHOW(tmpfs("new"));
    SHOW(beneath(new, "other"));
    SHOW(umount("new"));
    MUST(mkdir("other/in", 0755));
    SHOW(tmpfs("other/in"));
    int in = place("other/in");
    SHOW(beneath(in, "other"));
    SHOW(beneath(in, "other/in"));
    close(in);
    SHOW(umount("other/in"));
    SHOW(beneath(new, "other"));
    SHOW(access("new/mark", F_OK));
    SHOW(access("other/mark", F_OK));
    SHOW(umount("other"));
    SHOW(access("other/mark", F_OK));
    /* One that is mounted nowhere yet. */
    int tree = MUST(open_tree_("other", 1));
    SHOW(beneath(tree, "tree/hidden"));
    SHOW(beneath(tree, "other"));
    SHOW(umount2("other", MNT_DETACH));
    SHOW(access("other/mark", F_OK));
}

static void proc_by_descriptor(unsigned long attributes)
{
    int context = MUST(syscall(SYS_fsopen, "proc", 0));
    SHOW(syscall(SYS_fsconfig, context, 6, NULL, NULL, 0));
    int made = syscall(SYS_fsmount, context, 0, attributes);
    say("fsmount with %lx: %s", attributes, made < 0 ? strerrorname_np(errno) : "works");
    if (made >= 0)
        SHOW(syscall(SYS_move_mount, made, "", AT_FDCWD, "p2", 4));
    close(context);
}

static void read_only_proc(void)
{
    MUST(mkdir("p0", 0755));
    MUST(mkdir("p1", 0755));
    MUST(mkdir("p2", 0755));
    MUST(unshare(CLONE_NEWNS));
    MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    /* The only one that is seen. */
    MUST(mount("proc", "p0", "proc", MS_RDONLY, NULL));
    MUST(umount2("/proc", MNT_DETACH));
    MUST(unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID));
    pid_t pid = fork();
    if (pid == 0) {
        SHOW(mount("proc", "p1", "proc", 0, NULL));
        SHOW(mount("proc", "p1", "proc", MS_RDONLY | MS_NOATIME, NULL));
        SHOW(mount("proc", "p1", "proc", MS_RDONLY, NULL));
        SHOW(mount(NULL, "p1", NULL, MS_REMOUNT | MS_BIND, NULL));
        SHOW(mount(NULL, "p1", NULL, MS_REMOUNT, NULL));
        SHOW(setattr("p1", 0, 1));
        SHOW(mount(NULL, "p1", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOATIME, NULL));
        SHOW(access("p1/sys/kernel/hostname", W_OK));
        /* What it restricts itself it may lift again. */
        SHOW(mount(NULL, "p1", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOEXEC, NULL));
        SHOW(mount(NULL, "p1", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
        proc_by_descriptor(0);
        proc_by_descriptor(1);
        SHOW(setattr("p2", 0, 1));
        SHOW(mount(NULL, "p2", NULL, MS_REMOUNT | MS_BIND, NULL));
        /* Nor is a copy free. */
        SHOW(bind_to("p1", "p2", 0));
        SHOW(setattr("p2", 0, 1));
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    show_status("inside", status);
}

int main(void)
{
    step("left out", left_out);
    step("under", under);
    step("read-only proc", read_only_proc);
    return 0;
}
