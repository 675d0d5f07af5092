//@ root=only
/* UTS and mount namespaces of a process's own: unshare(2), clone(2). */
#include "check.h"
#include <sys/mount.h>
#include <sys/utsname.h>

static char number[64];

static void show(const char *who)
{
    struct utsname u;
    char file[65] = "", link[64] = "";
    MUST(uname(&u));
    int fd = MUST(open("/proc/sys/kernel/hostname", O_RDONLY));
    ssize_t n = MUST(read(fd, file, 64));
    close(fd);
    file[n - 1] = 0;
    MUST(readlink("/proc/self/ns/uts", link, 63));
    printf("%s: %s, %s, %s, %s number\n", who, u.nodename, file, u.domainname, strcmp(link, number) ? "another" : "the same");
    fflush(stdout);
}

static void name(const char *text)
{
    SHOW(sethostname(text, strlen(text)));
}

static void wait_for(pid_t pid)
{
    int status;
    MUST(waitpid(pid, &status, 0));
    SHOW(status);
}

static pid_t clone_with(long flags)
{
    fflush(stdout);
    return syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, NULL);
}

int main(void)
{
    /* Natively the machine keeps its names. */
    SHOW(unshare(CLONE_NEWUTS));
    MUST(readlink("/proc/self/ns/uts", number, 63));
    name("first");
    SHOW(setdomainname("example", 7));
    show("own");
    fflush(stdout);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        show("child");
        name("second");
        _exit(0);
    }
    wait_for(pid);
    show("shared with the child");
    pid = MUST(clone_with(CLONE_NEWUTS));
    if (pid == 0) {
        show("child of its own");
        name("third");
        show("child of its own");
        int fd = MUST(open("/proc/sys/kernel/hostname", O_WRONLY));
        SHOW(write(fd, "fourth\n", 7));
        show("child of its own");
        _exit(0);
    }
    wait_for(pid);
    show("not shared");
    SHOW(clone_with(CLONE_NEWNS | CLONE_FS));
    MUST(mkdir("place", 0755));
    pid = MUST(clone_with(CLONE_NEWNS));
    if (pid == 0) {
        SHOW(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
        SHOW(mount("none", "place", "tmpfs", 0, NULL));
        SHOW(close(MUST(open("place/file", O_CREAT | O_WRONLY, 0600))));
        SHOW(access("place/file", F_OK));
        _exit(0);
    }
    wait_for(pid);
    SHOW(access("place/file", F_OK));
    MUST(setresuid(65534, 65534, 65534));
    SHOW(unshare(CLONE_NEWUTS));
    SHOW(clone_with(CLONE_NEWNS));
    SHOW(sethostname("x", 1));
    return 0;
}
