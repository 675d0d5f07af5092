//@ root=only
/* The mqueue file system: message queues as files, of the IPC namespace that it was mounted in. */
#include "check.h"
#include <dirent.h>
#include <mqueue.h>
#include <sys/mount.h>
#include <sys/vfs.h>

static void list(const char *what)
{
    char names[16][300];
    int n = 0;
    DIR *d = opendir("queues");
    struct dirent *e;
    while (d != NULL && n < 16 && (e = readdir(d)) != NULL)
        snprintf(names[n++], sizeof *names, "%s %d", e->d_name, e->d_type);
    if (d != NULL)
        closedir(d);
    qsort(names, n, sizeof *names, (int (*)(const void *, const void *))strcmp);
    printf("%s:", what);
    for (int i = 0; i < n; i++)
        printf(" [%s]", names[i]);
    say(".");
}

static void show(const char *name)
{
    struct stat s;
    char text[100] = "";
    if (stat(name, &s) != 0) {
        say("%s: %s", name, strerrorname_np(errno));
        return;
    }
    say("%s: mode %o, links %ld, %u:%u, size %ld", name, s.st_mode, (long)s.st_nlink, s.st_uid, s.st_gid, (long)s.st_size);
    int fd = open(name, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    say("%s", n < 0 ? strerrorname_np(errno) : text);
    if (fd >= 0)
        close(fd);
}

int main(void)
{
    umask(022);
    MUST(unshare(CLONE_NEWIPC | CLONE_NEWNS));
    MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    mqd_t one = MUST(mq_open("/one", O_RDWR | O_CREAT, 0666, NULL));
    MUST(mkdir("queues", 0755));
    MUST(mount("mqueue", "queues", "mqueue", 0, NULL));
    struct statfs f;
    MUST(statfs("queues", &f));
    say("type %#lx, names %ld", (long)f.f_type, (long)f.f_namelen);
    list("at first");
    show("queues");
    show("queues/one");
    MUST(mq_send(one, "hello", 5, 3));
    show("queues/one");
    /* Made as a file it is a queue. */
    int fd = MUST(open("queues/two", O_RDWR | O_CREAT | O_EXCL, 0660));
    SHOW(mq_send(fd, "x", 1, 0));
    struct mq_attr a;
    SHOW(mq_getattr(fd, &a));
    say("%ld of %ld, %ld bytes", a.mq_curmsgs, a.mq_maxmsg, a.mq_msgsize);
    SHOW(write(fd, "x", 1));
    close(fd);
    SHOW(open("queues/two", O_RDWR | O_CREAT | O_EXCL, 0660));
    WORKS(mq_open("/two", O_RDONLY));
    list("two");
    show("queues");
    SHOW(mkdir("queues/dir", 0755));
    SHOW(symlink("one", "queues/link"));
    SHOW(link("queues/one", "queues/three"));
    SHOW(rename("queues/one", "queues/three"));
    SHOW(chmod("queues/two", 0604));
    show("queues/two");
    MUST(mq_unlink("/two"));
    show("queues/two");
    list("one");
    /* Who is elsewhere sees the same files there, and makes others. */
    pid_t pid = MUST(fork());
    if (pid == 0) {
        MUST(unshare(CLONE_NEWIPC));
        MUST(mq_open("/three", O_RDWR | O_CREAT, 0600, NULL));
        list("from elsewhere");
        MUST(umount("queues"));
        MUST(mount("mqueue", "queues", "mqueue", 0, NULL));
        list("elsewhere");
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    /* Nobody lives there any more: what is there stays, nothing is made. */
    list("abandoned");
    SHOW(access("queues/three", R_OK));
    SHOW(open("queues/four", O_RDWR | O_CREAT, 0600));
    SHOW(unlink("queues/three"));
    list("abandoned");
    MUST(umount("queues"));
    MUST(mount("mqueue", "queues", "mqueue", 0, NULL));
    list("again");
    pid = MUST(fork());
    if (pid == 0) {
        MUST(setuid(1000));
        SHOW(unlink("queues/one"));
        SHOW(open("queues/four", O_RDWR | O_CREAT, 0600));
        SHOW(unlink("queues/four"));
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    SHOW(unlink("queues/one"));
    SHOW(unlink("queues/one"));
    SHOW(mq_open("/one", O_RDONLY));
    list("none");
    SHOW(umount("queues"));
    return 0;
}
