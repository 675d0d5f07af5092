/* inotify(7): which events, in which order. */
#include "check.h"
#include <sys/inotify.h>

static int fd;
static const struct {
    unsigned bit;
    const char *name;
} names[] = {
    {IN_ACCESS, "ACCESS"}, {IN_MODIFY, "MODIFY"}, {IN_ATTRIB, "ATTRIB"}, {IN_CLOSE_WRITE, "CLOSE_WRITE"},
    {IN_CLOSE_NOWRITE, "CLOSE_NOWRITE"}, {IN_OPEN, "OPEN"}, {IN_MOVED_FROM, "MOVED_FROM"}, {IN_MOVED_TO, "MOVED_TO"},
    {IN_CREATE, "CREATE"}, {IN_DELETE, "DELETE"}, {IN_DELETE_SELF, "DELETE_SELF"}, {IN_MOVE_SELF, "MOVE_SELF"},
    {IN_IGNORED, "IGNORED"}, {IN_ISDIR, "ISDIR"}, {IN_Q_OVERFLOW, "OVERFLOW"}, {IN_UNMOUNT, "UNMOUNT"},
};

static void events(const char *what)
{
    char b[4096] __attribute__((aligned(8)));
    say("-- %s", what);
    unsigned last = 0;
    for (;;) {
        int n = read(fd, b, sizeof b);
        if (n < 0) {
            if (errno != EAGAIN)
                say("%s", strerrorname_np(errno));
            return;
        }
        for (int i = 0; i < n;) {
            struct inotify_event *e = (void *)(b + i);
            printf("wd %d", e->wd);
            for (unsigned k = 0; k < sizeof names / sizeof *names; k++)
                if (e->mask & names[k].bit)
                    printf(" %s", names[k].name);
            if (e->cookie)
                printf(" cookie %s", e->cookie == last ? "same" : "new");
            last = e->cookie;
            say("%s%s (%u)", e->len ? " " : "", e->len ? e->name : "", e->len);
            i += sizeof *e + e->len;
        }
    }
}

int main(void)
{
    MUST(mkdir("d", 0755));
    put_file("d/f", "hello");
    fd = MUST(inotify_init1(IN_NONBLOCK));
    SHOW(inotify_add_watch(fd, "d", IN_ALL_EVENTS));
    SHOW(inotify_add_watch(fd, "d/f", IN_ALL_EVENTS));
    int f = MUST(open("d/f", O_RDWR));
    char c[8];
    MUST(read(f, c, 8));
    MUST(write(f, "x", 1));
    MUST(ftruncate(f, 2));
    MUST(fchmod(f, 0600));
    MUST(close(f));
    events("file");
    put_file("d/new", "1");
    MUST(mkdir("d/sub", 0755));
    MUST(symlink("x", "d/link"));
    MUST(link("d/f", "d/hard"));
    events("made");
    MUST(rename("d/new", "d/newer"));
    MUST(rename("d/f", "elsewhere"));
    events("renamed");
    MUST(unlink("d/hard"));
    MUST(rmdir("d/sub"));
    MUST(unlink("d/newer"));
    events("removed");
    f = MUST(open("elsewhere", O_RDONLY));
    MUST(unlink("elsewhere"));
    events("unlinked, open");
    MUST(close(f));
    events("unlinked, closed");
    MUST(unlink("d/link"));
    MUST(rmdir("d"));
    events("directory gone");
    SHOW(inotify_rm_watch(fd, 1));
    put_file("g", "");
    SHOW(inotify_add_watch(fd, "g", IN_OPEN | IN_ONESHOT));
    MUST(close(MUST(open("g", O_RDONLY))));
    MUST(close(MUST(open("g", O_RDONLY))));
    events("one shot");
    SHOW(inotify_add_watch(fd, "g", IN_OPEN));
    SHOW(inotify_add_watch(fd, "g", IN_CLOSE_NOWRITE | IN_MASK_ADD));
    SHOW(inotify_add_watch(fd, "g", IN_OPEN | IN_MASK_CREATE));
    MUST(close(MUST(open("g", O_RDONLY))));
    SHOW(inotify_rm_watch(fd, 4));
    events("added");
    SHOW(inotify_add_watch(fd, "g", IN_OPEN | IN_ONLYDIR));
    SHOW(inotify_add_watch(fd, "g", 0));
    SHOW(inotify_add_watch(fd, "none", IN_OPEN));
    SHOW(inotify_add_watch(0, "g", IN_OPEN));
    SHOW(inotify_init1(0x1234));
    char small[8];
    SHOW(inotify_add_watch(fd, ".", IN_CREATE));
    put_file("many", "");
    int n = 0;
    SHOW(ioctl(fd, FIONREAD, &n));
    say("%d bytes", n);
    SHOW(read(fd, small, sizeof small));
    return 0;
}
