/* mkdir, rmdir, link, symlink, rename, unlink, readlink, and their errors. */
#include "check.h"
#include <linux/fs.h>

static int rename2(const char *from, const char *to, unsigned flags)
{
    return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
}

int main(void)
{
    char target[64] = {0};
    struct stat s;
    SHOW(mkdir("d", 0755));
    SHOW(mkdir("d", 0755));
    SHOW(mkdir("x/y", 0755));
    SHOW(mkdir("d/", 0755));
    SHOW(rmdir("d/."));
    SHOW(rmdir("d/.."));
    put_file("d/f", "one");
    SHOW(rmdir("d"));
    SHOW(unlink("d"));
    SHOW(rmdir("d/f"));
    SHOW(link("d/f", "l"));
    SHOW(link("d/f", "l"));
    SHOW(link("d", "ld"));
    SHOW(stat("l", &s));
    say("links %ld", (long)s.st_nlink);
    SHOW(symlink("d/f", "s"));
    SHOW(symlink("d/f", "s"));
    SHOW(symlink("", "empty"));
    SHOW(readlink("s", target, sizeof target));
    say("%s", target);
    SHOW(readlink("s", target, 2));
    SHOW(readlink("l", target, sizeof target));
    SHOW(readlink("s", target, 0));
    show_file("s");
    SHOW(lstat("s", &s));
    say("mode %o size %ld", s.st_mode, (long)s.st_size);
    SHOW(symlink("loop", "loop"));
    SHOW(open("loop", O_RDONLY));
    SHOW(stat("loop", &s));
    SHOW(open("loop", O_RDONLY | O_NOFOLLOW));
    SHOW(close(MUST(open("loop", O_PATH | O_NOFOLLOW))));
    SHOW(symlink("dangling-target", "dangling"));
    SHOW(open("dangling", O_WRONLY | O_CREAT | O_EXCL, 0600));
    SHOW(close(MUST(open("dangling", O_WRONLY | O_CREAT, 0600))));
    SHOW(access("dangling-target", F_OK));
    SHOW(rename("l", "m"));
    SHOW(access("l", F_OK));
    SHOW(rename("nothing", "m"));
    SHOW(rename("d", "m"));
    SHOW(rename("m", "d"));
    SHOW(mkdir("e", 0700));
    SHOW(rename("e", "d"));
    SHOW(rename("d", "e"));
    SHOW(rename("e", "e/inside"));
    SHOW(rename("e", "e"));
    SHOW(rename("m", "e/f"));
    SHOW(access("m", F_OK));
    put_file("a", "A");
    put_file("b", "B");
    SHOW(rename2("a", "b", RENAME_NOREPLACE));
    SHOW(rename2("a", "b", RENAME_EXCHANGE));
    show_file("a");
    show_file("b");
    SHOW(rename2("a", "new", RENAME_EXCHANGE));
    SHOW(rename2("a", "b", RENAME_NOREPLACE | RENAME_EXCHANGE));
    SHOW(rename2("a", "b", 1u << 20));
    SHOW(rename("a", "b/"));
    SHOW(unlink("nothing"));
    SHOW(unlink("a/"));
    SHOW(unlinkat(AT_FDCWD, "e", 0));
    SHOW(unlinkat(AT_FDCWD, "a", AT_REMOVEDIR));
    SHOW(unlinkat(AT_FDCWD, "a", 0x12345));
    char name[300];
    memset(name, 'n', sizeof name);
    name[256] = 0;
    SHOW(mkdir(name, 0700) == -1 ? errno : 0);
    name[255] = 0;
    SHOW(mkdir(name, 0700));
    SHOW(rmdir(name));
    char *path = malloc(5000);
    memset(path, '/', 5000);
    path[4999] = 0;
    SHOW(open(path, O_RDONLY) == -1 ? errno : 0);
    path[4095] = 0;
    SHOW(close(open(path, O_RDONLY)));
    int fd = MUST(open("b", O_RDWR));
    SHOW(unlink("b"));
    SHOW(write(fd, "still here", 10));
    SHOW(fstat(fd, &s));
    say("links %ld size %ld", (long)s.st_nlink, (long)s.st_size);
    SHOW(linkat(AT_FDCWD, "s", AT_FDCWD, "s2", 0));
    SHOW(lstat("s2", &s));
    say("symlink %d", S_ISLNK(s.st_mode));
    SHOW(linkat(AT_FDCWD, "dangling", AT_FDCWD, "followed", AT_SYMLINK_FOLLOW));
    SHOW(lstat("followed", &s));
    say("file %d links %ld", S_ISREG(s.st_mode), (long)s.st_nlink);
    return 0;
}
