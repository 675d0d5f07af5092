/* mount(2), umount2(2), pivot_root(2), in a mount namespace of its own. */
//@ root=only
#include "check.h"
#include <sys/sysmacros.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

int main(void)
{
    MUST(unshare(CLONE_NEWNS));
    MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    MUST(mkdir("a", 0755));
    MUST(mkdir("b", 0755));
    put_file("a/under", "x");
    put_file("file", "x");
    SHOW(mount("t", "a", "tmpfs", 0, "size=64k,mode=700"));
    SHOW(access("a/under", F_OK));
    put_file("a/over", "y");
    struct statvfs v;
    SHOW(statvfs("a", &v));
    say("%ld blocks of %ld", (long)v.f_blocks, (long)v.f_bsize);
    struct stat s;
    stat("a", &s);
    say("mode %o", s.st_mode);
    SHOW(mount("a", "b", NULL, MS_BIND, NULL));
    SHOW(access("b/over", F_OK));
    SHOW(mount(NULL, "b", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
    SHOW(open("b/new", O_CREAT | O_WRONLY, 0644));
    SHOW(open("b/over", O_WRONLY));
    SHOW(unlink("b/over"));
    SHOW(unlink("b/none"));
    SHOW(mkdir("b/over", 0755));
    SHOW(chmod("b/over", 0600));
    SHOW(truncate("b/over", 0));
    SHOW(access("b/over", W_OK));
    SHOW(access("b/over", R_OK));
    SHOW(link("a/over", "b/l"));
    SHOW(rename("a/over", "b/l"));
    SHOW(close(MUST(open("a/ok", O_CREAT | O_WRONLY, 0644))));
    SHOW(umount2("a", 0));
    SHOW(access("a/under", F_OK));
    SHOW(access("b/over", F_OK));
    int fd = MUST(open("b/over", O_RDONLY));
    SHOW(umount2("b", 0));
    SHOW(umount2("b", MNT_DETACH));
    char c;
    SHOW(read(fd, &c, 1));
    SHOW(umount2("b", 0));
    SHOW(umount2("none", 0));
    SHOW(umount2("b", 0x100));
    SHOW(mount("x", "a", "nosuchfs", 0, NULL));
    SHOW(mount("x", "a", NULL, 0, NULL));
    SHOW(mount("x", "none", "tmpfs", 0, NULL));
    SHOW(mount("x", "file", "tmpfs", 0, NULL));
    SHOW(mount("x", "a", "tmpfs", 0, "bogus=1"));
    SHOW(mount("file", "a", NULL, MS_BIND, NULL));
    SHOW(mount("none", "a", NULL, MS_BIND, NULL));
    put_file("target", "t");
    SHOW(mount("file", "target", NULL, MS_BIND, NULL));
    fd = MUST(open("target", O_RDONLY));
    MUST(read(fd, &c, 1));
    say("%c", c);
    SHOW(unlink("target"));
    SHOW(rename("target", "other"));
    close(fd);
    SHOW(umount2("target", 0));
    SHOW(mount("t", "a", "tmpfs", MS_NOEXEC | MS_NODEV | MS_NOSUID, NULL));
    SHOW(mkdir("a/sub", 0755));
    SHOW(mount("a", "a/sub", NULL, MS_MOVE, NULL));
    SHOW(mount("a", "b", NULL, MS_MOVE, NULL));
    SHOW(access("b/sub", F_OK));
    SHOW(mknod("b/null", S_IFCHR | 0666, makedev(1, 3)));
    SHOW(open("b/null", O_RDONLY));
    SHOW(system("cp /bin/true b/prog && b/prog 2>/dev/null"));
    SHOW(chroot("b"));
    SHOW(chdir("/"));
    char cwd[100];
    SHOW(getcwd(cwd, sizeof cwd) != NULL);
    say("%s", cwd);
    setuid(1000);
    SHOW(mount("t", "/sub", "tmpfs", 0, NULL));
    SHOW(umount2("/", 0));
    SHOW(umount2("/sub", 0));
    SHOW(umount2("/none", 0));
    SHOW(umount2("/sub", 0x100));
    SHOW(chroot("/sub"));
    return 0;
}
