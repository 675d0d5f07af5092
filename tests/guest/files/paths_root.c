/* Paths that are asked for again and again, and then something changes that only root changes: mounts, roots, ids, owners. */
//@ root=only
#include "often.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/prctl.h>

enum { OFTEN = 30 };
static char here[512];

static void ask_none(void)
{
    struct stat s;
    stat("none", &s);
    lstat("none", &s);
    access("none", F_OK);
    faccessat(AT_FDCWD, "none", R_OK, AT_EACCESS);
}

static const char *at(const char *name)
{
    static char names[8][1024];
    static int next;
    char *text = names[next++ % 8];
    snprintf(text, sizeof names[0], "%s/%s", here, name);
    return text;
}

struct seen {
    struct stat s;
    int error[2];
    int access[8];
    int effective[8];
};

static int outcome(int result)
{
    return result == 0 ? 0 : errno;
}

enum { WAYS = 2 + 2 * 8 };

/* Asks in one of the ways. */
static void ask(const char *path, int way, struct seen *s)
{
    struct stat unused;
    int mode = way - 2;
    if (way == 0)
        s->error[0] = outcome(stat(path, &s->s));
    else if (way == 1)
        s->error[1] = outcome(lstat(path, &unused));
    else if (mode < 8)
        s->access[mode] = outcome(access(path, mode));
    else
        s->effective[mode - 8] = outcome(faccessat(AT_FDCWD, path, mode - 8, AT_EACCESS));
}

static struct seen look_at(const char *path)
{
    struct seen s;
    memset(&s, 0, sizeof s);
    for (int way = 0; way < WAYS; way++)
        ask(path, way, &s);
    return s;
}

/* Looks at an absolute path, sees what another name for it shows, and makes it a habit. */
static void often_at(const char *name, const char *path)
{
    static int count;
    char other[2048], dots[64] = "";
    count++;
    for (int bit = 0; bit < 20; bit++)
        strcat(dots, count >> bit & 1 ? "/." : "/");
    snprintf(other, sizeof other, "%s%s", dots, path);
    struct seen first = look_at(path), again = look_at(other);
    if (memcmp(&first, &again, sizeof first))
        say("%s: by another way it is different", name);
    if (first.error[0])
        printf("%s: %s %s; access", name, strerrorname_np(first.error[0]),
               first.error[1] ? strerrorname_np(first.error[1]) : "there");
    else
        printf("%s: mode %o of %u:%u size %ld; access", name, first.s.st_mode, first.s.st_uid, first.s.st_gid,
               S_ISDIR(first.s.st_mode) ? -1L : (long)first.s.st_size);
    for (int mode = 0; mode < 8; mode++)
        printf(" %s", first.access[mode] ? strerrorname_np(first.access[mode]) : "0");
    printf("; effective");
    for (int mode = 0; mode < 8; mode++)
        printf(" %s", first.effective[mode] ? strerrorname_np(first.effective[mode]) : "0");
    putchar('\n');
    fflush(stdout);
    for (int i = 0; i < OFTEN * WAYS; i++) {
        ask(path, i / OFTEN, &again);
        if (memcmp(&first, &again, sizeof first)) {
            say("%s: changed by itself", name);
            break;
        }
    }
}

static void often(const char *name)
{
    often_at(name, at(name));
}

static void mount_over(void)
{
    MUST(mount("t", "dir", "tmpfs", 0, "mode=711"));
    put_file("dir/file", "mounted");
}
static void read_only(void) { MUST(mount(NULL, "dir", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL)); }
static void no_exec(void) { MUST(mount(NULL, "dir", NULL, MS_REMOUNT | MS_BIND | MS_NOEXEC, NULL)); }
static void all_read_only(void) { MUST(mount(NULL, "dir", NULL, MS_REMOUNT | MS_RDONLY, NULL)); }
static void writable(void) { MUST(mount(NULL, "dir", NULL, MS_REMOUNT, NULL)); }
static void by_attributes(void)
{
    struct mount_attr a = {.attr_set = MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY};
    MUST(syscall(SYS_mount_setattr, AT_FDCWD, "dir", 0, &a, sizeof a));
}
static void bind_file(void) { MUST(mount("other", "dir/file", NULL, MS_BIND, NULL)); }
static void unbind_file(void) { MUST(umount2("dir/file", 0)); }
static void unmount(void) { MUST(umount2("dir", 0)); }
static void unmount_lazily(void) { MUST(umount2("dir", MNT_DETACH)); }
static void bind_dir(void) { MUST(mount("second", "dir", NULL, MS_BIND, NULL)); }
static void move(void) { MUST(mount("dir", "third", NULL, MS_MOVE, NULL)); }
static void move_back(void) { MUST(mount("third", "dir", NULL, MS_MOVE, NULL)); }
static void expire(void)
{
    say("expire %d", outcome(umount2("dir", MNT_EXPIRE)));
}

static void mounts(int who)
{
    say("mounts by %d", who);
    void (*all[])(void) = {mount_over, read_only, writable, no_exec,  all_read_only, writable, by_attributes, writable, bind_file, unbind_file,
                           move,       move_back, unmount,  bind_dir, expire,        expire,   unmount_lazily};
    for (size_t i = 0; i <= sizeof all / sizeof *all; i++) {
        printf("%zu ", i);
        often("dir");
        often("dir/file");
        often("third/file");
        if (i < sizeof all / sizeof *all)
            by_whom(who, all[i]);
    }
}

static void change_root(void) { MUST(chroot("jail")); }
static void away(void) { MUST(chdir("dir")); }

static void owner(void) { MUST(chown("dir/file", 1, 2)); }
static void owner_of_dir(void) { MUST(chown("dir", 3, 4)); }
static void modes(void) { MUST(chmod("dir/file", 0400)); }
static void mode_of_dir(void) { MUST(chmod("dir", 0700)); }
static void back(void)
{
    MUST(chown("dir/file", 0, 0));
    MUST(chown("dir", 0, 0));
    MUST(chmod("dir", 0755));
    MUST(chmod("dir/file", 0644));
}

static void owners(int who)
{
    say("owners by %d", who);
    void (*all[])(void) = {owner, owner_of_dir, modes, mode_of_dir, back};
    for (size_t i = 0; i <= sizeof all / sizeof *all; i++) {
        printf("%zu ", i);
        often("dir");
        often("dir/file");
        if (i < sizeof all / sizeof *all)
            by_whom(who, all[i]);
    }
}

static void as_another(void) { MUST(setresuid(-1, 1, -1)); }
static void as_root(void) { MUST(setresuid(-1, 0, -1)); }
static void really_another(void) { MUST(setresuid(1, 0, 0)); }
static void really_root(void) { MUST(setresuid(0, 0, 0)); }
static void in_group(void) { MUST(setgroups(1, (gid_t[]){4})); }
static void in_none(void) { MUST(setgroups(0, NULL)); }
static void by_fsuid(void) { setfsuid(3); }
static void by_fsuid_back(void) { setfsuid(0); }
static void of_group(void) { MUST(setresgid(4, 4, 4)); }
static void of_root(void) { MUST(setresgid(0, 0, 0)); }
static void without(void)
{
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2];
    MUST(syscall(SYS_capget, &h, d));
    d[0].effective &= ~(1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH);
    MUST(syscall(SYS_capset, &h, d));
}

static void ids(void)
{
    say("ids");
    MUST(chown("dir", 3, 4));
    MUST(chmod("dir", 0750));
    MUST(chown("dir/file", 3, 4));
    MUST(chmod("dir/file", 0640));
    void (*all[])(void) = {as_another, in_group, as_root, in_group,  as_another, as_root,       in_none, really_another,
                           really_root, of_group, by_fsuid, by_fsuid_back, of_root, without};
    for (size_t i = 0; i <= sizeof all / sizeof *all; i++) {
        printf("%zu ", i);
        often("dir");
        often("dir/file");
        often("dir/none");
        if (i < sizeof all / sizeof *all) {
            /* Who may not: nothing changes then. */
            if (all[i] == in_group && geteuid() != 0)
                continue;
            all[i]();
        }
    }
}

static void in_child(void (*what)(void))
{
    pid_t child = MUST(fork());
    if (child == 0) {
        what();
        _exit(0);
    }
    int status;
    MUST(waitpid(child, &status, 0));
    say("ended with %d", WEXITSTATUS(status));
}

static void roots(void)
{
    say("roots");
    put_file("jail/inside", "in the jail");
    /* The directories above are there too, with something else in them. */
    char path[2048];
    snprintf(path, sizeof path, "jail%s", here);
    for (char *slash = path + 5; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        mkdir(path, 0755);
        *slash = '/';
    }
    MUST(mkdir(path, 0700));
    often("dir/file");
    often_at("/inside", "/inside");
    away();
    often("dir/file");
    MUST(chdir(".."));
    /* By another thread, which has the same root. */
    by_whom(1, change_root);
    often("dir/file");
    often_at("/inside", "/inside");
    often("");
}

static void another_namespace(void)
{
    say("another namespace");
    often("dir");
    int old = MUST(open("/proc/self/ns/mnt", O_RDONLY));
    MUST(unshare(CLONE_NEWNS));
    often("dir");
    mount_over();
    often("dir");
    int new = MUST(open("/proc/self/ns/mnt", O_RDONLY));
    MUST(setns(old, CLONE_NEWNS));
    often("dir");
    MUST(setns(new, CLONE_NEWNS));
    often("dir");
    MUST(chdir(here));
    /* And a root that is another mount. */
    MUST(mount("jail", "jail", NULL, MS_BIND, NULL));
    MUST(mkdir("jail/old", 0755));
    often_at("/inside", "/inside");
    MUST(chdir("jail"));
    MUST(syscall(SYS_pivot_root, ".", "old"));
    often_at("/inside", "/inside");
    often("dir");
    MUST(umount2("/old", MNT_DETACH));
    often_at("/inside", "/inside");
    often_at("/old", "/old/tmp");
}

int main(void)
{
    MUST(unshare(CLONE_NEWNS));
    MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    MUST(mount("t", ".", "tmpfs", 0, "mode=755"));
    MUST(getcwd(here, sizeof here) ? 0 : -1);
    MUST(chdir(here));
    umask(022);
    MUST(mkdir("dir", 0755));
    MUST(mkdir("second", 0755));
    MUST(mkdir("third", 0755));
    MUST(mkdir("jail", 0755));
    put_file("dir/file", "file");
    put_file("second/file", "the second one");
    put_file("other", "the other file");
    warm(ask_none);
    for (int who = 0; who < 3; who++) {
        mounts(who);
        owners(who);
    }
    in_child(roots);
    in_child(another_namespace);
    in_child(ids);
    return 0;
}
