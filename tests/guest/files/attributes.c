/* chmod, chown, times, statx, statfs, xattrs, sparse files. */
#include "check.h"
#include <sys/statfs.h>
#include <sys/xattr.h>

static void show_times(const char *name)
{
    struct stat s;
    MUST(lstat(name, &s));
    say("atime %ld.%09ld mtime %ld.%09ld", s.st_atim.tv_sec, s.st_atim.tv_nsec, s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
}

int main(void)
{
    struct stat s;
    put_file("f", "content");
    SHOW(chmod("f", 04711));
    SHOW(stat("f", &s));
    say("mode %o", s.st_mode);
    SHOW(chmod("f", 0107777));
    SHOW(stat("f", &s));
    say("mode %o", s.st_mode);
    SHOW(chmod("nothing", 0600));
    SHOW(fchmodat(AT_FDCWD, "f", 0600, 0));
    int fd = MUST(open("f", O_RDWR));
    SHOW(fchmod(fd, 0444));
    SHOW(chown("f", -1, -1));
    SHOW(lchown("f", getuid(), getgid()));
    struct timespec t[2] = {{1000000000, 123456789}, {1100000000, 987654321}};
    SHOW(utimensat(AT_FDCWD, "f", t, 0));
    show_times("f");
    t[0].tv_nsec = UTIME_OMIT;
    t[1].tv_sec = 5;
    SHOW(utimensat(AT_FDCWD, "f", t, 0));
    show_times("f");
    t[0].tv_nsec = 1000000000;
    SHOW(utimensat(AT_FDCWD, "f", t, 0));
    t[0] = (struct timespec){-1, 5};
    t[1].tv_nsec = UTIME_NOW;
    SHOW(futimens(fd, t));
    SHOW(stat("f", &s));
    say("now: %d, before the epoch: %ld", labs(time(NULL) - s.st_mtim.tv_sec) < 10, (long)s.st_atim.tv_sec);
    struct timeval v[2] = {{7, 8}, {9, 10}};
    SHOW(utimes("f", v));
    show_times("f");
    struct statx x;
    SHOW(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &x));
    say("statx mode %o size %lld nlink %u", x.stx_mode, (long long)x.stx_size, x.stx_nlink);
    SHOW(statx(AT_FDCWD, "f", 0, 0x80000000u, &x));
    SHOW(statx(AT_FDCWD, "f", 0x4000000, STATX_BASIC_STATS, &x));
    SHOW(statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &x));
    SHOW(statx(fd, "", 0, STATX_SIZE, &x));
    struct statfs fs;
    SHOW(statfs(".", &fs));
    say("block size %d, name length %ld", fs.f_bsize > 0, (long)fs.f_namelen);
    SHOW(statfs("nothing", &fs));
    char value[64] = {0};
    SHOW(setxattr("f", "user.color", "green", 5, 0));
    SHOW(setxattr("f", "user.color", "blue", 4, XATTR_CREATE));
    SHOW(setxattr("f", "user.shape", "round", 5, XATTR_REPLACE));
    SHOW(getxattr("f", "user.color", value, sizeof value));
    say("%s", value);
    SHOW(getxattr("f", "user.color", value, 2));
    SHOW(getxattr("f", "user.color", NULL, 0));
    SHOW(getxattr("f", "user.none", value, sizeof value));
    SHOW(fgetxattr(fd, "user.color", value, sizeof value));
    SHOW(listxattr("f", value, sizeof value));
    say("%s", value);
    SHOW(removexattr("f", "user.color"));
    SHOW(removexattr("f", "user.color"));
    SHOW(setxattr("f", "nonsense", "x", 1, 0));
    SHOW(setxattr("f", "user.", "x", 1, 0));
    int sparse = MUST(open("sparse", O_RDWR | O_CREAT, 0600));
    SHOW(pwrite(sparse, "x", 1, 1 << 20));
    SHOW(fstat(sparse, &s));
    say("size %ld, holes %d", (long)s.st_size, s.st_blocks * 512 < 1 << 19);
    SHOW(lseek(sparse, 0, SEEK_DATA) > 0);
    SHOW(lseek(sparse, 0, SEEK_HOLE));
    SHOW(lseek(sparse, 1 << 20, SEEK_DATA));
    SHOW(lseek(sparse, (1 << 20) + 1, SEEK_DATA));
    SHOW(lseek(sparse, (1 << 20) + 2, SEEK_HOLE));
    SHOW(fallocate(sparse, 0, 0, 2 << 20));
    SHOW(lseek(sparse, 0, SEEK_END));
    SHOW(fallocate(sparse, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
    SHOW(fallocate(sparse, FALLOC_FL_PUNCH_HOLE, 0, 4096));
    SHOW(fallocate(sparse, 0, 0, 0));
    SHOW(posix_fadvise(sparse, 0, 0, POSIX_FADV_WILLNEED));
    return 0;
}
