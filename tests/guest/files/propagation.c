//@ root=only
/* Propagation of mounts (mount_namespaces(7)): peers, slaves, private and unbindable mounts, and what mountinfo says of them. */
#include "check.h"
#include <sys/mount.h>

struct line {
    char place[128], options[64];
    int peers, master;
};

/* Whether only places are shown: several mounts at one place have no order. */
static int places_only;

/* Peer groups are numbered as they first appear. */
static int number(int *groups, int id)
{
    int i = 0;
    while (groups[i] && groups[i] != id)
        i++;
    groups[i] = id;
    return i;
}

/* The mounts below the working directory, in the order of their places. */
static void show(const char *when)
{
    static struct line lines[64];
    char cwd[4096], text[4096];
    int n = 0, groups[130] = {0};
    MUST(syscall(SYS_getcwd, cwd, sizeof cwd));
    FILE *f = fopen("/proc/self/mountinfo", "r");
    while (n < 64 && fgets(text, sizeof text, f)) {
        char place[2048], rest[2048], *tag;
        if (sscanf(text, "%*d %*d %*s %*s %2047s %*s %2047[^\n]", place, rest) != 2)
            continue;
        /* Not the directory itself, should it be a mount. */
        if (strncmp(place, cwd, strlen(cwd)) || !place[strlen(cwd)])
            continue;
        struct line l = {.peers = 0};
        snprintf(l.place, sizeof l.place, "%.120s", place + strlen(cwd));
        for (tag = strtok(rest, " "); tag && strcmp(tag, "-"); tag = strtok(NULL, " ")) {
            if (sscanf(tag, "shared:%d", &l.peers) == 1 || sscanf(tag, "master:%d", &l.master) == 1)
                continue;
            if (strncmp(tag, "propagate_from", 14))
                snprintf(l.options, sizeof l.options, " %.60s", tag);
        }
        int at = n++;
        for (; at > 0 && strcmp(lines[at - 1].place, l.place) > 0; at--)
            lines[at] = lines[at - 1];
        lines[at] = l;
    }
    fclose(f);
    say("-- %s", when);
    for (int i = 0; i < n; i++) {
        printf("%s:%s", lines[i].place, lines[i].options);
        if (lines[i].peers && !places_only)
            printf(" shared:%d", number(groups, lines[i].peers));
        if (lines[i].master && !places_only)
            printf(" master:%d", number(groups, lines[i].master));
        say("%s", "");
    }
}

static int tmpfs(const char *at)
{
    return mount("t", at, "tmpfs", 0, NULL);
}
static int make(const char *at, unsigned long how)
{
    return mount(NULL, at, NULL, how, NULL);
}
static int bind_to(const char *from, const char *to, unsigned long more)
{
    return mount(from, to, NULL, MS_BIND | more, NULL);
}

static void peers(void)
{
    SHOW(tmpfs("a"));
    show("private");
    SHOW(make("a", MS_SHARED));
    SHOW(make("a", MS_SHARED));
    mkdir("a/x", 0755);
    mkdir("a/y", 0755);
    SHOW(bind_to("a", "b", 0));
    show("bound");
    SHOW(tmpfs("a/x"));
    show("mounted on one");
    SHOW(tmpfs("b/y"));
    mkdir("b/x/deep", 0755);
    SHOW(access("a/x/deep", F_OK));
    SHOW(umount2("a/y", 0));
    show("taken from the other");
    SHOW(umount2("b/x", 0));
    SHOW(bind_to("a/x", "c", 0));
    show("a part of a peer");
    mkdir("c/sub", 0755);
    SHOW(tmpfs("a/x/sub"));
    SHOW(tmpfs("a/y"));
    show("what the part shows");
    SHOW(umount2("a/x/sub", 0));
    SHOW(umount2("c", 0));
    SHOW(umount2("b/y", MNT_DETACH));
    SHOW(make("b", MS_PRIVATE));
    show("no peer any more");
    SHOW(tmpfs("a/x"));
    show("one alone");
    SHOW(umount2("a/x", 0));
    SHOW(umount2("b", 0));
    SHOW(umount2("a", 0));
}

static void slaves(void)
{
    SHOW(tmpfs("a"));
    SHOW(make("a", MS_SLAVE));
    show("a private mount stays private");
    SHOW(make("a", MS_SHARED));
    SHOW(make("a", MS_SLAVE));
    show("so does one without peers");
    SHOW(make("a", MS_SHARED));
    mkdir("a/x", 0755);
    mkdir("a/y", 0755);
    SHOW(bind_to("a", "b", 0));
    SHOW(make("b", MS_SLAVE));
    show("slave");
    SHOW(tmpfs("a/x"));
    SHOW(tmpfs("b/y"));
    show("from the master only");
    SHOW(bind_to("b", "c", MS_REC));
    show("a slave's copy");
    SHOW(umount2("c", MNT_DETACH));
    SHOW(make("b", MS_SHARED));
    SHOW(bind_to("b", "c", 0));
    show("a shared slave and its peer");
    SHOW(umount2("a/x", 0));
    SHOW(tmpfs("a/x"));
    show("down to the peer of the slave");
    SHOW(make("a", MS_PRIVATE));
    show("the master leaves");
    SHOW(umount2("c", MNT_DETACH));
    SHOW(umount2("b", MNT_DETACH));
    SHOW(umount2("a", MNT_DETACH));
}

static void unbindable(void)
{
    SHOW(tmpfs("a"));
    SHOW(make("a", MS_UNBINDABLE));
    show("unbindable");
    SHOW(bind_to("a", "b", 0));
    mkdir("a/x", 0755);
    SHOW(make("a", MS_PRIVATE));
    SHOW(tmpfs("a/x"));
    SHOW(make("a/x", MS_UNBINDABLE));
    SHOW(bind_to("a", "b", MS_REC));
    show("left out");
    SHOW(tmpfs("c"));
    SHOW(make("c", MS_SHARED));
    mkdir("c/x", 0755);
    SHOW(mount("a", "c/x", NULL, MS_MOVE, NULL));
    SHOW(umount2("c", 0));
    SHOW(umount2("b", 0));
    SHOW(umount2("a", MNT_DETACH));
}

static void moving(void)
{
    SHOW(tmpfs("a"));
    mkdir("a/x", 0755);
    SHOW(tmpfs("a/x"));
    SHOW(make("a", MS_SHARED));
    SHOW(mount("a/x", "b", NULL, MS_MOVE, NULL));
    SHOW(make("a", MS_PRIVATE));
    SHOW(tmpfs("c"));
    SHOW(make("c", MS_SHARED));
    mkdir("c/here", 0755);
    SHOW(bind_to("c", "d", 0));
    SHOW(mount("a", "c/here", NULL, MS_MOVE, NULL));
    show("moved under a shared one");
    SHOW(mount("d", "c", NULL, MS_MOVE, NULL));
    SHOW(umount2("d", MNT_DETACH));
    show("taken away");
    SHOW(umount2("c", MNT_DETACH));
    SHOW(umount2("c", MNT_DETACH));
    SHOW(umount2("c", MNT_DETACH));
}

static void wrong(void)
{
    SHOW(make("a", MS_SHARED));
    SHOW(tmpfs("a"));
    SHOW(make("a", MS_SHARED | MS_PRIVATE));
    SHOW(make("a", MS_SHARED | 1));
    SHOW(make("a/none", MS_SHARED));
    SHOW(make("a", MS_SHARED | MS_REC | 0x8000));
    SHOW(bind_to("", "b", 0));
    SHOW(mount(NULL, "b", NULL, MS_BIND, NULL));
    SHOW(mount(NULL, "b", NULL, MS_MOVE, NULL));
    SHOW(mount("b", "c", NULL, MS_MOVE, NULL));
    SHOW(mount("a", "a", NULL, MS_MOVE, NULL));
    put_file("file", "");
    SHOW(mount("a", "file", NULL, MS_MOVE, NULL));
    SHOW(bind_to("a", "file", 0));
    SHOW(bind_to("file", "b", 0));
    SHOW(umount2("b", 0));
    SHOW(umount2("a", MNT_EXPIRE));
    SHOW(umount2("a", MNT_EXPIRE));
    SHOW(tmpfs("a"));
    SHOW(umount2("a", MNT_EXPIRE | MNT_DETACH));
    SHOW(umount2("a", MNT_EXPIRE));
    SHOW(access("a/x", F_OK));
    SHOW(umount2("a", MNT_EXPIRE));
    SHOW(umount2("a", MNT_EXPIRE));
    SHOW(umount2("a", 16));
}

/* What is mounted on a place of which a peer shows the inside comes under what is there. */
static void stacked(void)
{
    places_only = 1;
    SHOW(bind_to("a", "a", 0));
    mkdir("a/in", 0755);
    SHOW(make("a", MS_SHARED));
    SHOW(bind_to("b", "b", 0));
    SHOW(make("b", MS_SHARED));
    SHOW(tmpfs("d"));
    SHOW(bind_to("a/in", "a/in", 0));
    SHOW(bind_to("a/in", "b", 0));
    SHOW(bind_to("d", "a/in", 0));
    show("under what is there");
    SHOW(bind_to("a/in", "b", 0));
    show("and again");
    while (umount2("a/in", 0) == 0)
        show("one less");
    SHOW(umount2("a", MNT_DETACH));
    SHOW(umount2("b", MNT_DETACH));
    SHOW(umount2("b", MNT_DETACH));
    SHOW(umount2("d", MNT_DETACH));
    show("all gone");
    places_only = 0;
}

static void namespaces(void)
{
    SHOW(tmpfs("a"));
    SHOW(make("a", MS_SHARED));
    mkdir("a/x", 0755);
    int to[2], back[2];
    char c;
    MUST(pipe(to));
    MUST(pipe(back));
    pid_t child = MUST(fork());
    if (child == 0) {
        MUST(unshare(CLONE_NEWNS));
        MUST(write(back[1], "x", 1));
        MUST(read(to[0], &c, 1));
        show("seen in the other namespace");
        SHOW(umount2("a/x", 0));
        SHOW(make("a", MS_SLAVE));
        MUST(write(back[1], "x", 1));
        MUST(read(to[0], &c, 1));
        show("and as a slave");
        SHOW(umount2("a/x", 0));
        MUST(write(back[1], "x", 1));
        _exit(0);
    }
    MUST(read(back[0], &c, 1));
    SHOW(tmpfs("a/x"));
    MUST(write(to[1], "x", 1));
    MUST(read(back[0], &c, 1));
    show("taken away from there");
    SHOW(tmpfs("a/x"));
    MUST(write(to[1], "x", 1));
    MUST(read(back[0], &c, 1));
    MUST(waitpid(child, NULL, 0));
    show("but not by a slave");
    SHOW(umount2("a", MNT_DETACH));
}

int main(void)
{
    MUST(unshare(CLONE_NEWNS));
    MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    mkdir("a", 0755);
    mkdir("b", 0755);
    mkdir("c", 0755);
    mkdir("d", 0755);
    peers();
    slaves();
    unbindable();
    moving();
    wrong();
    stacked();
    namespaces();
    show("nothing is left");
    return 0;
}
