/* getdents, seekdir, chdir, getcwd, *at calls, O_PATH, O_TMPFILE. */
#include "check.h"
#include <dirent.h>

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void list(const char *dir)
{
    struct dirent **names;
    int n = scandir(dir, &names, NULL, by_name);
    printf("%s:", dir);
    for (int i = 0; i < n; i++)
        printf(" %s/%d", names[i]->d_name, names[i]->d_type);
    say(" (%d)", n);
}

int main(void)
{
    char cwd[4096], buffer[64];
    MUST(mkdir("top", 0755));
    MUST(chdir("top"));
    MUST(mkdir("sub", 0755));
    put_file("file", "x");
    MUST(symlink("file", "link"));
    MUST(mkfifo("fifo", 0600));
    list(".");
    list("sub");
    for (int i = 0; i < 500; i++) {
        char name[64];
        snprintf(name, sizeof name, "sub/a-rather-long-name-for-a-file-%d", i);
        put_file(name, "");
    }
    DIR *d = opendir("sub");
    int count = 0;
    while (readdir(d))
        count++;
    say("entries %d", count);
    rewinddir(d);
    for (int i = 0; i < 100; i++)
        readdir(d);
    long position = telldir(d);
    struct dirent *e = readdir(d);
    char name[256];
    strcpy(name, e->d_name);
    readdir(d);
    seekdir(d, position);
    say("same entry after seekdir: %d", strcmp(name, readdir(d)->d_name) == 0);
    rewinddir(d);
    count = 0;
    while ((e = readdir(d)))
        if (e->d_name[0] != '.')
            count += unlinkat(dirfd(d), e->d_name, 0) == 0;
    say("removed while listing %d", count);
    closedir(d);
    SHOW(rmdir("sub"));
    SHOW(syscall(SYS_getdents64, MUST(open(".", O_RDONLY)), buffer, 10));
    SHOW(syscall(SYS_getdents64, MUST(open("file", O_RDONLY)), buffer, 64));
    int dir = MUST(open(".", O_RDONLY | O_DIRECTORY));
    SHOW(mkdirat(dir, "at", 0700));
    SHOW(openat(dir, "at/none", O_RDONLY));
    SHOW(openat(99, "x", O_RDONLY));
    SHOW(openat(99, "/etc/passwd", O_RDONLY) > 0);
    SHOW(openat(MUST(open("file", O_RDONLY)), "x", O_RDONLY));
    SHOW(fchdir(MUST(open("at", O_RDONLY))));
    SHOW(fchdir(MUST(open("../file", O_RDONLY))));
    MUST(getcwd(cwd, sizeof cwd) ? 0 : -1);
    say("cwd ends in %s", strstr(cwd, "/top"));
    SHOW(syscall(SYS_getcwd, cwd, 3));
    SHOW(rmdir("../at"));
    SHOW(syscall(SYS_getcwd, cwd, sizeof cwd));
    SHOW(open("new", O_CREAT | O_WRONLY, 0600));
    SHOW(chdir(".."));
    SHOW(chdir("file"));
    SHOW(chdir("nothing"));
    MUST(fchdir(dir));
    int path = MUST(open("file", O_PATH));
    SHOW(read(path, buffer, 1));
    SHOW(fchmod(path, 0600));
    SHOW(fcntl(path, F_GETFL) & O_PATH);
    SHOW(fstat(path, &(struct stat){0}));
    SHOW(ioctl(path, FIONREAD, buffer));
    int dup_path = MUST(dup(path));
    SHOW(close(dup_path));
    char proc[64];
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", path);
    int reopened = MUST(open(proc, O_RDONLY));
    SHOW(read(reopened, buffer, 1));
    int tmp = open(".", O_TMPFILE | O_RDWR, 0600);
    if (tmp >= 0) {
        SHOW(write(tmp, "nameless", 8));
        snprintf(proc, sizeof proc, "/proc/self/fd/%d", tmp);
        SHOW(linkat(AT_FDCWD, proc, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
        show_file("named");
    } else {
        say("O_TMPFILE: %s", strerrorname_np(errno));
    }
    list(".");
    return 0;
}
