//@ root=only
/* File flags (ioctl_iflags(2)): append-only and immutable files; on a tmpfs of its own, for other file systems have others. */
#include "check.h"
#include <linux/fs.h>
#include <sys/mount.h>
#include <sys/xattr.h>

#define struct_statx_attributes(x) ((long long)((x).stx_attributes & 0x70))

static void show_flags(int fd, const char *name)
{
    int flags = 0;
    SHOW(ioctl(fd, FS_IOC_GETFLAGS, &flags));
    struct statx x;
    MUST(syscall(SYS_statx, AT_FDCWD, name, 0, 0xfff, &x));
    say("flags %x attributes %llx", flags, struct_statx_attributes(x));
}

static long set(int fd, int flags)
{
    return ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

static void changes(void)
{
    SHOW(close(MUST(open("f", O_RDONLY))));
    SHOW(open("f", O_RDWR));
    SHOW(open("f", O_RDONLY | O_TRUNC));
    SHOW(open("f", O_WRONLY | O_APPEND));
    SHOW(unlink("f"));
    SHOW(rename("f", "g"));
    SHOW(link("f", "g"));
    SHOW(chmod("f", 0600));
    SHOW(chown("f", 1, 1));
    SHOW(truncate("f", 1));
    SHOW(utimensat(AT_FDCWD, "f", NULL, 0));
    struct timespec t[2] = {{1, 0}, {1, 0}};
    SHOW(utimensat(AT_FDCWD, "f", t, 0));
    SHOW(setxattr("f", "user.x", "", 0, 0));
    SHOW(access("f", W_OK));
}

int main(void)
{
    MUST(unshare(CLONE_NEWNS));
    MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    mkdir("m", 0755);
    MUST(mount("t", "m", "tmpfs", 0, NULL));
    MUST(chdir("m"));
    put_file("f", "content");
    int fd = MUST(open("f", O_RDWR));
    show_flags(fd, "f");
    SHOW(set(fd, FS_NODUMP_FL | FS_NOATIME_FL));
    show_flags(fd, "f");
    SHOW(set(fd, FS_COMPR_FL));
    SHOW(ioctl(fd, FS_IOC_SETFLAGS, NULL));
    SHOW(set(fd, FS_APPEND_FL));
    show_flags(fd, "f");
    changes();
    SHOW(write(fd, "x", 1));
    int append = MUST(open("f", O_WRONLY | O_APPEND));
    SHOW(fcntl(append, F_SETFL, 0));
    SHOW(ftruncate(append, 0));
    SHOW(set(fd, FS_IMMUTABLE_FL));
    show_flags(fd, "f");
    changes();
    SHOW(set(fd, 0));
    show_flags(fd, "f");
    mkdir("d", 0755);
    put_file("d/old", "");
    int dir = MUST(open("d", O_RDONLY));
    SHOW(set(dir, FS_APPEND_FL));
    SHOW(close(MUST(open("d/new", O_CREAT | O_RDWR, 0600))));
    SHOW(unlink("d/new"));
    SHOW(rename("d/new", "d/newer"));
    SHOW(rmdir("d"));
    SHOW(set(dir, FS_IMMUTABLE_FL));
    SHOW(open("d/more", O_CREAT | O_RDWR, 0600));
    SHOW(mkdir("d/more", 0700));
    SHOW(link("f", "d/more"));
    SHOW(unlink("d/new"));
    SHOW(close(MUST(open("d/old", O_RDWR))));
    SHOW(set(dir, 0));
    struct fsxattr x = {0};
    SHOW(ioctl(fd, FS_IOC_FSGETXATTR, &x));
    say("%x", x.fsx_xflags);
    x.fsx_xflags = FS_XFLAG_IMMUTABLE | FS_XFLAG_NODUMP;
    SHOW(ioctl(fd, FS_IOC_FSSETXATTR, &x));
    show_flags(fd, "f");
    x.fsx_xflags = 0;
    SHOW(ioctl(fd, FS_IOC_FSSETXATTR, &x));
    mkfifo("p", 0600);
    int fifo = MUST(open("p", O_RDWR));
    int flags;
    SHOW(ioctl(fifo, FS_IOC_GETFLAGS, &flags));
    chmod("f", 0666);
    chown("f", 1000, 1000);
    MUST(setresuid(1000, 1000, 1000));
    SHOW(set(fd, FS_NODUMP_FL));
    SHOW(set(fd, FS_APPEND_FL));
    SHOW(set(dir, FS_NODUMP_FL));
    return 0;
}
