/* Path walk: precedence of errors, trailing slashes, dots, links. */
#include "check.h"

int main(void)
{
    umask(022);
    MUST(mkdir("d", 0755));
    put_file("d/f", "x");
    MUST(symlink("f", "d/l"));
    MUST(symlink("d", "dl"));
    MUST(symlink("none", "dangling"));
    MUST(symlink("self", "self"));
    struct stat s;
    static const char *const paths[] = {
        "d/f", "d/f/", "d/f/.", "d/f/..", "d/l/", "d/l", "dl", "dl/", "dl/.", "dl/..", "dangling", "dangling/", "self", "self/x",
        "none", "none/x", "none/..", "d/../d/f", "d//f", "", ".", "./", "..", "/..", "//", "/./../.", "d/none/", "d/f/x",
    };
    for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++) {
        const char *p = paths[i];
        int st = stat(p, &s) ? errno : 0, ls = lstat(p, &s) ? errno : 0;
        int type = ls ? 0 : s.st_mode >> 12;
        int ac = access(p, F_OK) ? errno : 0;
        int op = open(p, O_RDONLY) < 0 ? errno : 0;
        int cr = open(p, O_CREAT | O_EXCL | O_WRONLY, 0600) < 0 ? errno : 0;
        say("%-12s stat %s lstat %s %o access %s open %s excl %s", p, st ? strerrorname_np(st) : "ok", ls ? strerrorname_np(ls) : "ok",
            type, ac ? strerrorname_np(ac) : "ok", op ? strerrorname_np(op) : "ok", cr ? strerrorname_np(cr) : "ok");
        if (!cr)
            unlink(p);
    }
    static const char *const odd[] = {"d", "d/", "d/.", "d/..", "d/f", "d/f/", "dl", "dl/", "dangling", "dangling/", "none", "none/", ".", "..", "/", ""};
    for (unsigned i = 0; i < sizeof odd / sizeof *odd; i++) {
        const char *p = odd[i];
        int mk = mkdir(p, 0700) ? errno : 0;
        if (!mk)
            rmdir(p);
        int mn = mknod(p, S_IFREG | 0600, 0) ? errno : 0;
        if (!mn)
            unlink(p);
        int sy = symlink("x", p) ? errno : 0;
        if (!sy)
            unlink(p);
        int li = link("d/f", p) ? errno : 0;
        if (!li)
            unlink(p);
        int rm = rmdir(p) ? errno : 0, un = unlink(p) ? errno : 0;
        if (!un) {
            if (!strcmp(p, "d/f"))
                put_file("d/f", "x");
            if (!strcmp(p, "dl"))
                MUST(symlink("d", "dl"));
            if (!strcmp(p, "dangling"))
                MUST(symlink("none", "dangling"));
        }
        say("%-10s mkdir %s mknod %s symlink %s link %s rmdir %s unlink %s", p, mk ? strerrorname_np(mk) : "ok", mn ? strerrorname_np(mn) : "ok",
            sy ? strerrorname_np(sy) : "ok", li ? strerrorname_np(li) : "ok", rm ? strerrorname_np(rm) : "ok", un ? strerrorname_np(un) : "ok");
    }
    static const char *const from[] = {"d", "d/", "d/.", "d/f", "d/f/", "dl", "dl/", "none", "."};
    static const char *const to[] = {"new", "new/", "d/new", "d/new/", "d", "d/f", "dl", "dl/", "e", "e/", "."};
    for (unsigned i = 0; i < sizeof from / sizeof *from; i++)
        for (unsigned k = 0; k < sizeof to / sizeof *to; k++) {
            mkdir("e", 0700);
            int r = rename(from[i], to[k]) ? errno : 0;
            say("rename %s %s: %s", from[i], to[k], r ? strerrorname_np(r) : "ok");
            if (!r && strcmp(from[i], to[k])) {
                system("rm -rf d dl e new; mkdir d; echo -n x > d/f; ln -s f d/l; ln -s d dl");
            }
        }
    char long_name[300];
    memset(long_name, 'x', 299);
    long_name[299] = 0;
    SHOW(open(long_name, O_CREAT, 0600));
    long_name[255] = 0;
    SHOW(open(long_name, O_CREAT, 0600) >= 0);
    char path[5000];
    memset(path, '/', sizeof path);
    path[4095] = 0;
    SHOW(access(path, F_OK));
    path[4095] = '/';
    path[4096] = 0;
    SHOW(access(path, F_OK));
    char name[32];
    MUST(symlink("d/f", "n0"));
    for (int i = 1; i < 45; i++) {
        char target[32];
        sprintf(target, "n%d", i - 1);
        sprintf(name, "n%d", i);
        MUST(symlink(target, name));
    }
    SHOW(access("n38", F_OK));
    SHOW(access("n39", F_OK));
    SHOW(access("n40", F_OK));
    SHOW(access("n41", F_OK));
    int fd = MUST(open("d/f", O_RDONLY));
    SHOW(openat(fd, "x", O_RDONLY));
    SHOW(openat(fd, "/none", O_RDONLY));
    SHOW(openat(999, "x", O_RDONLY));
    SHOW(openat(999, "/none", O_RDONLY));
    SHOW(fstatat(fd, "", &s, AT_EMPTY_PATH));
    SHOW(fstatat(fd, "", &s, 0));
    SHOW(fstatat(fd, "", &s, 0x8000));
    SHOW(readlink("d/f", path, 10));
    SHOW(readlink("dl", path, 0));
    SHOW(readlink("dl", path, 10));
    SHOW(unlinkat(AT_FDCWD, "d", 0x1000));
    return 0;
}
