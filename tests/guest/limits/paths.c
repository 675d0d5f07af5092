/* Names and links at their limits. */
#include "check.h"
#include <sys/xattr.h>

int main(void)
{
    char name[5000];
    memset(name, 'x', sizeof name);
    name[255] = 0;
    SHOW(mkdir(name, 0700));
    SHOW(rmdir(name));
    name[255] = 'x';
    name[256] = 0;
    SHOW(mkdir(name, 0700));
    for (int i = 0; i < 4999; i++)
        name[i] = i % 2 ? '/' : '.';
    name[4095] = 0;
    SHOW(access(name, F_OK));
    name[4095] = '/';
    name[4096] = 0;
    SHOW(access(name, F_OK));
    name[4096] = '.';
    name[4999] = 0;
    SHOW(open(name, O_RDONLY));
    SHOW(symlink("loop", "loop"));
    SHOW(open("loop", O_RDONLY));
    SHOW(open("loop", O_RDONLY | O_NOFOLLOW));
    SHOW(chdir("loop/x"));
    put_file("l0", "end");
    for (int i = 1; i < 45; i++) {
        char from[16], to[16];
        snprintf(from, sizeof from, "l%d", i);
        snprintf(to, sizeof to, "l%d", i - 1);
        MUST(symlink(to, from));
    }
    SHOW(access("l39", F_OK));
    SHOW(access("l40", F_OK));
    SHOW(access("l41", F_OK));
    memset(name, 'y', sizeof name);
    name[4095] = 0;
    SHOW(symlink(name, "long"));
    name[4095] = 'y';
    name[4096] = 0;
    SHOW(symlink(name, "longer"));
    /* Directories far deeper than a path can say, and their removal. */
    int depth = 0;
    MUST(mkdir("deep", 0700));
    int top = MUST(open("deep", O_RDONLY | O_DIRECTORY)), at = top;
    for (; depth < 3000; depth++) {
        MUST(mkdirat(at, "d", 0700));
        int next = MUST(openat(at, "d", O_RDONLY | O_DIRECTORY));
        if (at != top)
            close(at);
        at = next;
    }
    MUST(fchdir(at));
    char cwd[5000];
    SHOW(getcwd(cwd, 100) != NULL);
    SHOW(syscall(SYS_getcwd, cwd, sizeof cwd));
    for (; depth > 0; depth--) {
        int up = MUST(openat(at, "..", O_RDONLY | O_DIRECTORY));
        MUST(unlinkat(up, "d", AT_REMOVEDIR));
        close(at);
        at = up;
    }
    say("removed");
    return 0;
}
