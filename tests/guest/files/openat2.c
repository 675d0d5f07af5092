/* openat2(2) and odd flags of open(2). */
#include "check.h"
#include <linux/openat2.h>
#include <sys/stat.h>

static int go(int dir, const char *path, unsigned long flags, unsigned long mode, unsigned long resolve)
{
    struct open_how how = {.flags = flags, .mode = mode, .resolve = resolve};
    int fd;
    /* Linux gives up on ".." if any rename or mount of the machine was under way meanwhile. */
    do
        fd = syscall(SYS_openat2, dir, path, &how, sizeof how);
    while (fd < 0 && errno == EAGAIN);
    if (fd >= 0) {
        close(fd);
        return 0;
    }
    return fd;
}

int main(void)
{
    MUST(mkdir("in", 0755));
    MUST(mkdir("in/d", 0755));
    put_file("in/d/f", "x");
    put_file("out", "x");
    MUST(symlink("../out", "in/rel"));
    MUST(symlink("/etc", "in/abs"));
    MUST(symlink("d/f", "in/ok"));
    MUST(symlink("loop", "in/loop"));
    int in = MUST(open("in", O_RDONLY | O_DIRECTORY));
    static const unsigned long r[] = {0, RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_XDEV};
    static const char *const paths[] = {"d/f", "ok", "rel", "abs", "loop", "..", "d/..", "d/../..", "/d/f", ".", "", "none", "/proc/self/exe", "/proc/version"};
    for (unsigned i = 0; i < sizeof r / sizeof *r; i++)
        for (unsigned k = 0; k < sizeof paths / sizeof *paths; k++) {
            int v = go(in, paths[k], O_RDONLY, 0, r[i]);
            say("resolve %lx %s: %s", r[i], paths[k], v ? strerrorname_np(errno) : "open");
        }
    SHOW(go(in, "d/f", 1ul << 40, 0, 0));
    SHOW(go(in, "d/f", O_RDONLY, 0644, 0));
    SHOW(go(in, "new", O_CREAT | O_WRONLY, 0100644, 0));
    SHOW(go(in, "new", O_CREAT | O_WRONLY, 0644, RESOLVE_BENEATH));
    SHOW(go(in, "d/f", O_PATH | O_RDWR, 0, 0));
    SHOW(go(in, "d/f", O_RDONLY, 0, RESOLVE_BENEATH | RESOLVE_IN_ROOT));
    SHOW(go(in, "d/f", O_RDONLY, 0, 0x1000));
    SHOW(go(in, "d/f", O_TMPFILE | O_RDONLY, 0, 0));
    char big[32] = {0};
    SHOW(syscall(SYS_openat2, in, "d/f", big, 8));
    big[30] = 1;
    SHOW(syscall(SYS_openat2, in, "d/f", big, 32));
    SHOW(open("in/d/f", O_DIRECTORY));
    SHOW(open("in/none", O_CREAT | O_DIRECTORY, 0644));
    SHOW(open("in/d/f/", O_RDONLY));
    SHOW(open("in/none/", O_CREAT | O_WRONLY, 0644));
    SHOW(open("in/d", O_CREAT, 0644));
    SHOW(open("in/d", O_TMPFILE, 0644));
    SHOW(open("in/d/f", O_TMPFILE | O_RDWR, 0644));
    int fd = MUST(open("in/d/f", O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    say("flags %o fd flags %d", fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
    fd = MUST(open("in/d/f", O_PATH));
    say("flags %o", fcntl(fd, F_GETFL));
    char c;
    SHOW(read(fd, &c, 1));
    SHOW(fchmod(fd, 0600));
    SHOW(fcntl(fd, F_SETFL, 0));
    SHOW(ioctl(fd, FIONREAD, &c));
    struct stat s;
    SHOW(fstat(fd, &s));
    SHOW(lseek(fd, 0, SEEK_SET));
    SHOW(fchdir(fd));
    SHOW(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED);
    fd = MUST(open("in/d", O_TMPFILE | O_RDWR, 0600));
    MUST(write(fd, "unnamed", 7));
    SHOW(linkat(fd, "", AT_FDCWD, "in/named", AT_EMPTY_PATH));
    fstat(fd, &s);
    say("links %ld size %ld", (long)s.st_nlink, (long)s.st_size);
    fd = MUST(open("in/d", O_TMPFILE | O_RDWR | O_EXCL, 0600));
    SHOW(linkat(fd, "", AT_FDCWD, "in/named2", AT_EMPTY_PATH));
    return 0;
}
