//@ root=only
/* What is easily forgotten: access times of links, mappings and FIFOs, flags of single calls, files without a position. */
#include "check.h"
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/timerfd.h>
#include <sys/xattr.h>

static struct stat before;

static void old(const char *name)
{
    struct timespec t[2] = {{1000000, 1}, {1000000, 1}};
    MUST(utimensat(AT_FDCWD, name, t, AT_SYMLINK_NOFOLLOW));
    MUST(lstat(name, &before));
    pause_ms(15);
}

static void changed(const char *what, const char *name)
{
    struct stat s;
    MUST(lstat(name, &s));
    say("%s: access %d modification %d change %d", what, s.st_atime != before.st_atime, s.st_mtime != before.st_mtime,
        s.st_ctim.tv_nsec != before.st_ctim.tv_nsec || s.st_ctime != before.st_ctime);
}

static void times(void)
{
    char buffer[16];
    struct stat s;
    put_file("f", "content");
    symlink("f", "l");
    mkfifo("p", 0600);
    int fd = MUST(open("f", O_RDWR));
    old("f");
    MUST(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
    changed("mmap", "f");
    old("l");
    SHOW(readlink("l", buffer, sizeof buffer));
    changed("readlink", "l");
    old("l");
    SHOW(stat("l", &s));
    changed("followed", "l");
    old("l");
    SHOW(lstat("l", &s));
    changed("lstat", "l");
    int fifo = MUST(open("p", O_RDWR | O_NONBLOCK));
    old("p");
    SHOW(read(fifo, buffer, 3));
    changed("empty", "p");
    SHOW(write(fifo, "abc", 3));
    changed("written", "p");
    old("p");
    SHOW(read(fifo, buffer, 3));
    changed("read", "p");
    close(fifo);
    fd = MUST(open("f", O_RDWR | O_NOATIME));
    old("f");
    SHOW(read(fd, buffer, 3));
    changed("O_NOATIME", "f");
}

static void mount_times(unsigned long flags, const char *what)
{
    char buffer[4096];
    mkdir("m", 0755);
    MUST(mount("t", "m", "tmpfs", flags, NULL));
    put_file("m/f", "x");
    mkdir("m/d", 0755);
    int fd = MUST(open("m/f", O_RDONLY)), dir = MUST(open("m/d", O_RDONLY));
    old("m/f");
    MUST(read(fd, buffer, 1));
    changed(what, "m/f");
    old("m/d");
    MUST(syscall(SYS_getdents64, dir, buffer, sizeof buffer));
    changed(what, "m/d");
    struct timespec t[2] = {{0, UTIME_NOW}, {1000000, 1}};
    MUST(utimensat(AT_FDCWD, "m/f", t, 0));
    MUST(lstat("m/f", &before));
    pause_ms(15);
    MUST(pread(fd, buffer, 1, 0));
    struct stat s;
    MUST(stat("m/f", &s));
    say("%s: again %d", what, s.st_atim.tv_nsec != before.st_atim.tv_nsec);
    close(fd);
    close(dir);
    MUST(umount2("m", 0));
}

static void positions(void)
{
    int event = MUST(eventfd(0, 0)), timer = MUST(timerfd_create(CLOCK_MONOTONIC, 0));
    int poll = MUST(epoll_create1(0)), notify = MUST(inotify_init());
    SHOW(lseek(event, 5, SEEK_SET));
    SHOW(lseek(timer, 5, SEEK_SET));
    SHOW(lseek(poll, 5, SEEK_SET));
    SHOW(lseek(notify, 5, SEEK_SET));
    SHOW(lseek(event, 0, 9));
    int fd = MUST(open("f", O_RDWR));
    SHOW(lseek(fd, 100, SEEK_CUR));
    SHOW(lseek(fd, INT64_MAX, SEEK_CUR));
}

static void flags(void)
{
    int fd = MUST(open("f", O_RDWR)), p[2];
    char c;
    struct iovec v = {&c, 1};
    uint64_t hint = 3;
    SHOW(preadv2(fd, &v, 1, 0, RWF_APPEND));
    SHOW(pwritev2(fd, &v, 1, 0, RWF_APPEND | 0x20));
    SHOW(flock(fd, 32 | LOCK_SH));
    SHOW(fcntl(fd, 1036, &hint));
    hint = 9;
    SHOW(fcntl(fd, 1035, &hint));
    say("hint %d", (int)hint);
    SHOW(fcntl(fd, 1036, (uint64_t[]){6}));
    struct open_how how = {.flags = O_RDONLY, .resolve = RESOLVE_CACHED};
    SHOW(close(syscall(SYS_openat2, AT_FDCWD, "f", &how, sizeof how)));
    how = (struct open_how){.flags = O_CREAT | O_RDWR, .mode = 0600, .resolve = RESOLVE_CACHED};
    SHOW(syscall(SYS_openat2, AT_FDCWD, "g", &how, sizeof how));
    how = (struct open_how){.flags = O_TRUNC | O_RDWR, .resolve = RESOLVE_CACHED};
    SHOW(syscall(SYS_openat2, AT_FDCWD, "f", &how, sizeof how));
    signal(SIGPIPE, SIG_DFL);
    MUST(pipe(p));
    close(p[0]);
    SHOW(pwritev2(p[1], &v, 1, -1, 0x100));
    SHOW(setxattr("f", "security.capability", "x", 1, 0));
    struct statx x;
    SHOW(syscall(SYS_statx, AT_FDCWD, "f", 0, 0xfff, &x));
    say("mask %x", x.stx_mask & 0x5000);
    SHOW(syscall(SYS_statx, AT_FDCWD, "f", 0, 0xfff | 0x5000, &x));
    say("mask %x large %d", x.stx_mask & 0x5000, x.stx_mnt_id > 1u << 31);
}

static void whiteouts(void)
{
    mkdir("m", 0777);
    MUST(mount("t", "m", "tmpfs", 0, NULL));
    MUST(chdir("m"));
    put_file("f", "x");
    SHOW(open(".", O_RDONLY | O_DIRECT | O_DIRECTORY));
    MUST(setresuid(1000, 1000, 1000));
    put_file("g", "x");
    SHOW(syscall(SYS_renameat2, AT_FDCWD, "g", AT_FDCWD, "h", RENAME_WHITEOUT));
    struct stat s;
    SHOW(lstat("g", &s));
    say("mode %o device %d", s.st_mode, (int)s.st_rdev);
}

int main(void)
{
    MUST(unshare(CLONE_NEWNS));
    MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    times();
    mount_times(0, "relatime");
    mount_times(MS_STRICTATIME, "strictatime");
    mount_times(MS_NOATIME, "noatime");
    mount_times(MS_NODIRATIME, "nodiratime");
    positions();
    flags();
    whiteouts();
    return 0;
}
