//@ root=only
/* Mounts by descriptor: fsopen, fsconfig, fsmount, fspick, open_tree, move_mount, mount_setattr, statmount, listmount. */
#include "check.h"
#include <linux/mount.h>

int mount(const char *, const char *, const char *, unsigned long, const void *);
int umount2(const char *, int);
#define DETACH 2
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

#define fs_open(kind, flags) syscall(430, kind, flags)
#define fs_config(fd, cmd, key, value, aux) syscall(431, fd, cmd, key, value, aux)
#define fs_mount(fd, flags, attributes) syscall(432, fd, flags, attributes)
#define fs_pick(dir, path, flags) syscall(433, dir, path, flags)
#define tree_open(dir, path, flags) syscall(428, dir, path, flags)
#define mount_move(fd, from, dir, to, flags) syscall(429, fd, from, dir, to, flags)
#define attributes(dir, path, flags, attr, size) syscall(442, dir, path, flags, attr, size)

struct attr {
    uint64_t set, clear, propagation, user_ns;
};

static void contexts(void)
{
    SHOW(fs_open("nosuchfs", 0));
    SHOW(fs_open("tmpfs", 2));
    SHOW(fs_open(NULL, 0));
    int fd = MUST(fs_open("tmpfs", 1));
    say("close on exec %d", fcntl(fd, F_GETFD));
    char c;
    SHOW(read(fd, &c, 1));
    SHOW(fs_mount(fd, 0, 0));
    SHOW(fs_config(-1, 0, "ro", NULL, 0));
    SHOW(fs_config(0, 0, "ro", NULL, 0));
    SHOW(fs_config(999, 0, "ro", NULL, 0));
    SHOW(fs_config(fd, 99, "ro", NULL, 0));
    SHOW(fs_config(fd, 0, NULL, NULL, 0));
    SHOW(fs_config(fd, 0, "ro", "x", 0));
    SHOW(fs_config(fd, 0, "ro", NULL, 1));
    SHOW(fs_config(fd, 1, "size", NULL, 0));
    SHOW(fs_config(fd, 1, NULL, "1m", 0));
    SHOW(fs_config(fd, 2, "size", "1m", 0));
    SHOW(fs_config(fd, 2, "size", "1m", -1));
    SHOW(fs_config(fd, 3, "size", NULL, AT_FDCWD));
    SHOW(fs_config(fd, 5, "size", "x", 0));
    SHOW(fs_config(fd, 5, "size", NULL, -1));
    SHOW(fs_config(fd, 6, "size", NULL, 0));
    SHOW(fs_config(fd, 7, NULL, NULL, 0));
    SHOW(fs_config(fd, 1, "size", "rubbish", 0));
    SHOW(fs_config(fd, 1, "nosuchkey", "1", 0));
    SHOW(fs_config(fd, 1, "size", "1m", 0));
    SHOW(fs_config(fd, 1, "mode", "711", 0));
    SHOW(fs_config(fd, 1, "source", "here", 0));
    SHOW(fs_config(fd, 1, "source", "there", 0));
    SHOW(fs_config(fd, 6, NULL, NULL, 0));
    SHOW(fs_config(fd, 6, NULL, NULL, 0));
    SHOW(fs_config(fd, 1, "size", "2m", 0));
    SHOW(fs_mount(0, 0, 0));
    SHOW(fs_mount(999, 0, 0));
    SHOW(fs_mount(fd, 2, 0));
    SHOW(fs_mount(fd, 0, 0x1000));
    SHOW(fs_mount(fd, 0, MOUNT_ATTR__ATIME));
    int tree = MUST(fs_mount(fd, 1, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOATIME));
    struct stat s;
    SHOW(fstat(tree, &s));
    say("mode %o", s.st_mode);
    SHOW(close(MUST(openat(tree, "inside", O_CREAT | O_RDWR, 0600))));
    SHOW(write(tree, "x", 1));
    SHOW(mount_move(tree, "", AT_FDCWD, "none", MOVE_MOUNT_F_EMPTY_PATH));
    SHOW(mount_move(tree, "", AT_FDCWD, "file", MOVE_MOUNT_F_EMPTY_PATH));
    SHOW(mount_move(tree, "", AT_FDCWD, "a", 0));
    SHOW(mount_move(tree, "", AT_FDCWD, "a", 0x1000));
    SHOW(mount_move(tree, "", AT_FDCWD, "a", MOVE_MOUNT_F_EMPTY_PATH));
    SHOW(access("a/inside", F_OK));
    SHOW(umount2("a", 0));
    close(tree);
    int picked = fs_pick(AT_FDCWD, "a", 0);
    SHOW(picked > 0);
    SHOW(fs_config(picked, 1, "size", "2m", 0));
    SHOW(fs_config(picked, 0, "ro", NULL, 0));
    SHOW(fs_config(picked, 7, NULL, NULL, 0));
    SHOW(open("a/new", O_CREAT | O_RDWR, 0600));
    SHOW(fs_config(picked, 6, NULL, NULL, 0));
    close(picked);
    SHOW(fs_pick(AT_FDCWD, "b", 0));
    SHOW(fs_pick(AT_FDCWD, "none", 0));
    SHOW(fs_pick(AT_FDCWD, "a", 16));
    SHOW(umount2("a", 0));
    fd = MUST(fs_open("proc", 0));
    SHOW(fs_config(fd, 6, NULL, NULL, 0));
    tree = MUST(fs_mount(fd, 0, 0));
    SHOW(mount_move(tree, "", AT_FDCWD, "a", MOVE_MOUNT_F_EMPTY_PATH));
    SHOW(access("a/self/status", F_OK));
    close(tree);
    SHOW(umount2("a", 0));
}

static void trees(void)
{
    SHOW(tree_open(AT_FDCWD, "a", 0x10000));
    SHOW(tree_open(AT_FDCWD, "a", AT_RECURSIVE));
    SHOW(tree_open(AT_FDCWD, "none", 0));
    int fd = MUST(tree_open(AT_FDCWD, "a", OPEN_TREE_CLOEXEC));
    say("flags %o close on exec %d", fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
    close(fd);
    mount("t", "a", "tmpfs", 0, NULL);
    mkdir("a/sub", 0755);
    mount("t", "a/sub", "tmpfs", 0, NULL);
    mkdir("a/sub/deep", 0755);
    fd = MUST(tree_open(AT_FDCWD, "a", OPEN_TREE_CLONE));
    SHOW(faccessat(fd, "sub/deep", F_OK, 0));
    close(fd);
    fd = MUST(tree_open(AT_FDCWD, "a", OPEN_TREE_CLONE | AT_RECURSIVE));
    SHOW(faccessat(fd, "sub/deep", F_OK, 0));
    SHOW(mount_move(fd, "sub", AT_FDCWD, "b", 0));
    struct attr at = {.set = MOUNT_ATTR_RDONLY};
    SHOW(attributes(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &at, sizeof at));
    SHOW(mount_move(fd, "", AT_FDCWD, "b", MOVE_MOUNT_F_EMPTY_PATH));
    SHOW(mkdir("b/new", 0755));
    SHOW(mkdir("b/sub/new", 0755));
    SHOW(mkdir("a/sub/new", 0755));
    SHOW(access("b/sub/new", F_OK));
    close(fd);
    /* What is mounted can be moved, too. */
    SHOW(mount_move(AT_FDCWD, "b", AT_FDCWD, "c", 0));
    SHOW(access("c/sub/deep", F_OK));
    SHOW(mount_move(AT_FDCWD, "c", AT_FDCWD, "c/sub", 0));
    SHOW(mount_move(AT_FDCWD, "b", AT_FDCWD, "c", 0));
    SHOW(mount_move(AT_FDCWD, "c", AT_FDCWD, "a", 0x400));
    SHOW(umount2("c", DETACH));
    /* A tree ends with its descriptor. */
    fd = MUST(tree_open(AT_FDCWD, "a", OPEN_TREE_CLONE));
    int inside = MUST(openat(fd, ".", O_RDONLY));
    close(fd);
    SHOW(faccessat(inside, "sub", F_OK, 0));
    close(inside);
    /* Under what is mounted. */
    int top = MUST(tree_open(AT_FDCWD, "a", OPEN_TREE_CLONE | AT_RECURSIVE));
    mkdir("d/below", 0755);
    int below = MUST(tree_open(AT_FDCWD, "d", OPEN_TREE_CLONE));
    SHOW(mount_move(top, "", AT_FDCWD, "b", MOVE_MOUNT_F_EMPTY_PATH));
    SHOW(mount_move(below, "", AT_FDCWD, "b", MOVE_MOUNT_F_EMPTY_PATH | 0x200));
    SHOW(access("b/sub/deep", F_OK));
    close(top);
    SHOW(umount2("b", DETACH));
    SHOW(access("b/below", F_OK));
    close(below);
    SHOW(umount2("b", 0));
    SHOW(umount2("b", 0));
    SHOW(umount2("a", DETACH));
}

static void setting(void)
{
    mount("t", "a", "tmpfs", 0, NULL);
    mkdir("a/sub", 0755);
    mount("t", "a/sub", "tmpfs", 0, NULL);
    struct attr at = {.set = MOUNT_ATTR_NOEXEC};
    SHOW(attributes(AT_FDCWD, "a", 0, &at, 8));
    SHOW(attributes(AT_FDCWD, "a", 0, &at, 5000));
    SHOW(attributes(AT_FDCWD, "a", 0x2, &at, sizeof at));
    SHOW(attributes(AT_FDCWD, "a", 0, NULL, sizeof at));
    SHOW(attributes(AT_FDCWD, "a/none", 0, &at, sizeof at));
    SHOW(attributes(AT_FDCWD, "b", 0, &at, sizeof at));
    SHOW(attributes(AT_FDCWD, "a", 0, &at, sizeof at));
    at = (struct attr){.set = 0x1000};
    SHOW(attributes(AT_FDCWD, "a", 0, &at, sizeof at));
    at = (struct attr){.set = MOUNT_ATTR_NOATIME};
    SHOW(attributes(AT_FDCWD, "a", 0, &at, sizeof at));
    at.clear = MOUNT_ATTR__ATIME;
    SHOW(attributes(AT_FDCWD, "a", 0, &at, sizeof at));
    at = (struct attr){.propagation = 0x3000};
    SHOW(attributes(AT_FDCWD, "a", 0, &at, sizeof at));
    at = (struct attr){.propagation = 0x140000};
    SHOW(attributes(AT_FDCWD, "a", 0, &at, sizeof at));
    int fd = MUST(open("a/sub/open", O_CREAT | O_RDWR, 0600));
    at = (struct attr){.set = MOUNT_ATTR_RDONLY};
    SHOW(attributes(AT_FDCWD, "a", AT_RECURSIVE, &at, sizeof at));
    SHOW(mkdir("a/writable", 0755));
    SHOW(mount(NULL, "a/sub", NULL, 32 | 4096 | 1, NULL));
    SHOW(mount(NULL, "a/sub", NULL, 32 | 1, NULL));
    close(fd);
    SHOW(attributes(AT_FDCWD, "a", AT_RECURSIVE, &at, sizeof at));
    SHOW(mkdir("a/no", 0755));
    SHOW(mkdir("a/sub/no", 0755));
    at = (struct attr){.clear = MOUNT_ATTR_RDONLY};
    SHOW(attributes(AT_FDCWD, "a", 0, &at, sizeof at));
    SHOW(mkdir("a/yes", 0755));
    SHOW(mkdir("a/sub/no", 0755));
    SHOW(umount2("a/sub", 0));
    SHOW(mount(NULL, "a", NULL, 32 | 1, NULL));
    SHOW(mkdir("a/no", 0755));
    SHOW(mount(NULL, "a", NULL, 32, "size=1m"));
    SHOW(mkdir("a/yes2", 0755));
    SHOW(umount2("a", 0));
}

struct request {
    uint32_t size, spare;
    uint64_t id, param;
};

static uint64_t unique(const char *path)
{
    struct statx x;
    MUST(syscall(SYS_statx, AT_FDCWD, path, 0, 0x4000, &x));
    return x.stx_mnt_id;
}

static void asking(void)
{
    mount("from", "a", "tmpfs", 0, NULL);
    mkdir("a/x", 0755);
    mkdir("a/y", 0755);
    mount("from", "a/x", "tmpfs", 1 | 2 | 8, NULL);
    mount("from", "a/y", "tmpfs", 0, NULL);
    mount(NULL, "a/y", NULL, 1 << 20, NULL);
    struct request r = {24, 0, unique("a"), 0};
    uint64_t ids[8] = {0};
    long n;
    SHOW(n = syscall(458, &r, ids, 8, 0));
    say("x %d y %d", ids[0] == unique("a/x"), ids[1] == unique("a/y"));
    SHOW(syscall(458, &r, ids, 1, 0));
    SHOW(syscall(458, &r, ids, 8, 1));
    say("y %d x %d", ids[0] == unique("a/y"), ids[1] == unique("a/x"));
    SHOW(syscall(458, &r, ids, 8, 2));
    SHOW(syscall(458, &r, ids, 1 << 30, 0));
    r.param = unique("a/x");
    SHOW(syscall(458, &r, ids, 8, 0));
    r.param = 0;
    r.size = 8;
    SHOW(syscall(458, &r, ids, 8, 0));
    r.size = 24;
    r.id = 5;
    SHOW(syscall(458, &r, ids, 8, 0));
    r.id = 1ull << 60;
    SHOW(syscall(458, &r, ids, 8, 0));
    union {
        struct {
            uint32_t size, opts;
            uint64_t mask;
            uint32_t major, minor;
            uint64_t magic;
            uint32_t sb_flags, fs_type;
            uint64_t id, parent;
            uint32_t old, old_parent;
            uint64_t attr, propagation, group, master, from;
            uint32_t root, point;
        } s;
        char bytes[4096];
    } u;
    memset(&u, 0, sizeof u);
    r.id = unique("a/x");
    r.param = 1 | 2 | 8 | 0x10 | 0x20;
    SHOW(syscall(457, &r, &u, sizeof u, 0));
    char *text = u.bytes + 512;
    say("mask %llx magic %llx type %s root %s at %s", (long long)u.s.mask, (long long)u.s.magic, text + u.s.fs_type,
        text + u.s.root, strrchr(text + u.s.point, '/'));
    say("attributes %llx propagation %llx parent %d", (long long)u.s.attr, (long long)u.s.propagation,
        u.s.parent == unique("a"));
    r.id = unique("a/y");
    r.param = 2;
    SHOW(syscall(457, &r, &u, sizeof u, 0));
    say("attributes %llx propagation %llx peers %d master %lld size %u", (long long)u.s.attr,
        (long long)u.s.propagation, u.s.group != 0, (long long)u.s.master, u.s.size);
    r.param = 0x20;
    SHOW(syscall(457, &r, &u, 512, 0));
    SHOW(syscall(457, &r, &u, sizeof u, 1));
    r.id = 1ull << 60;
    SHOW(syscall(457, &r, &u, sizeof u, 0));
    SHOW(umount2("a", DETACH));
}

int main(void)
{
    MUST(unshare(CLONE_NEWNS));
    MUST(mount(NULL, "/", NULL, 16384 | (1 << 18), NULL));
    mkdir("a", 0755);
    mkdir("b", 0755);
    mkdir("c", 0755);
    mkdir("d", 0755);
    put_file("file", "");
    contexts();
    trees();
    setting();
    asking();
    MUST(setresuid(1000, 1000, 1000));
    SHOW(fs_open("tmpfs", 0));
    SHOW(fs_mount(0, 0, 0));
    SHOW(fs_pick(AT_FDCWD, "a", 0));
    SHOW(tree_open(AT_FDCWD, "a", OPEN_TREE_CLONE));
    SHOW(mount_move(AT_FDCWD, "a", AT_FDCWD, "b", 0));
    struct attr at = {.set = MOUNT_ATTR_RDONLY};
    SHOW(attributes(AT_FDCWD, "a", 0, &at, sizeof at));
    return 0;
}
