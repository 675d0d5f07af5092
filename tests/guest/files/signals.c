/* Signal-driven I/O (O_ASYNC) and directory notification (F_NOTIFY). */
#include "check.h"
#include <sys/inotify.h>
#include <sys/un.h>

static sigset_t all;

/* The signals that wait, in the order they come out. */
static void got(const char *what)
{
    struct timespec none = {0, 0};
    siginfo_t i;
    int s, any = 0;
    while ((s = sigtimedwait(&all, &i, &none)) > 0) {
        printf("%s: SIG%s", what, s >= SIGRTMIN ? "RT" : sigabbrev_np(s));
        if (s >= SIGRTMIN)
            printf("+%d", s - SIGRTMIN);
        if (s == SIGCHLD && i.si_code == CLD_KILLED)
            say(" of a child");
        else if (i.si_code == SI_KERNEL)
            say(" from the kernel");
        else
            say(" code %d band %#lx fd %d", i.si_code, i.si_band, i.si_fd);
        any = 1;
    }
    if (!any)
        say("%s: nothing", what);
}

static void own(int fd, int signal)
{
    MUST(fcntl(fd, F_SETOWN, getpid()));
    MUST(fcntl(fd, F_SETSIG, signal));
    MUST(fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK));
}

static void pipes(void)
{
    int p[2];
    char c[70000] = {0};
    MUST(pipe(p));
    MUST(dup2(p[0], 40));
    MUST(dup2(p[1], 41));
    close(p[0]), close(p[1]);
    MUST(fcntl(40, F_SETFL, O_ASYNC | O_NONBLOCK));
    MUST(write(41, "x", 1));
    got("without owner");
    MUST(read(40, c, 8));
    own(40, 0);
    MUST(write(41, "x", 1));
    got("SIGIO");
    MUST(read(40, c, 8));
    SHOW(fcntl(40, F_SETSIG, SIGRTMIN + 3));
    SHOW(fcntl(40, F_GETSIG) == SIGRTMIN + 3);
    MUST(write(41, "x", 1));
    got("real-time signal");
    MUST(read(40, c, 8));
    MUST(fcntl(40, F_SETSIG, SIGCHLD));
    MUST(write(41, "x", 1));
    got("SIGCHLD");
    MUST(read(40, c, 8));
    MUST(fcntl(40, F_SETSIG, SIGRTMIN));
    struct f_owner_ex to = {F_OWNER_TID, gettid()};
    SHOW(fcntl(40, F_SETOWN_EX, &to));
    MUST(write(41, "x", 1));
    got("thread");
    MUST(read(40, c, 8));
    SHOW(fcntl(40, F_SETOWN, -getpgrp()));
    SHOW(fcntl(40, F_GETOWN) == -getpgrp());
    MUST(write(41, "x", 1));
    got("group");
    MUST(read(40, c, 8));
    MUST(fcntl(40, F_SETFL, O_NONBLOCK));
    MUST(write(41, "x", 1));
    got("switched off");
    own(40, SIGRTMIN);
    int off = 0, on = 1;
    SHOW(ioctl(40, FIOASYNC, &off));
    MUST(read(40, c, 8));
    MUST(write(41, "x", 1));
    got("switched off by ioctl");
    SHOW(ioctl(40, FIOASYNC, &on));
    MUST(read(40, c, 8));
    MUST(write(41, "x", 1));
    got("switched on by ioctl");
    MUST(read(40, c, 8));
    close(41);
    got("no writer");
    close(40);

    MUST(pipe(p));
    MUST(dup2(p[0], 40));
    MUST(dup2(p[1], 41));
    close(p[0]), close(p[1]);
    own(41, SIGRTMIN + 1);
    while (write(41, c, 4096) > 0)
        ;
    got("full");
    MUST(read(40, c, sizeof c));
    got("room");
    close(40);
    got("no reader");
    close(41);
}

static void sockets(void)
{
    int s[2];
    char c[8];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    MUST(dup2(s[0], 40));
    MUST(dup2(s[1], 41));
    close(s[0]), close(s[1]);
    own(40, SIGRTMIN);
    MUST(write(41, "x", 1));
    got("unix");
    MUST(read(40, c, 8));
    int pid = 0;
    SHOW(ioctl(40, SIOCGPGRP, &pid));
    SHOW(pid == getpid());
    pid = -getpgrp();
    SHOW(ioctl(40, FIOSETOWN, &pid));
    SHOW(fcntl(40, F_GETOWN) == pid);
    pid = 0x7fffffff;
    SHOW(ioctl(40, SIOCSPGRP, &pid));
    close(40), close(41);
}

static void others(void)
{
    int f = MUST(open("file", O_RDWR | O_CREAT, 0600)), on = 1;
    SHOW(ioctl(f, FIOASYNC, &on));
    SHOW(fcntl(f, F_SETFL, O_ASYNC));
    SHOW(fcntl(f, F_GETFL) & O_ASYNC);
    close(f);
    int i = MUST(inotify_init());
    MUST(dup2(i, 40));
    close(i);
    MUST(inotify_add_watch(40, ".", IN_DELETE));
    own(40, SIGRTMIN);
    MUST(unlink("file"));
    got("inotify");
    close(40);
    /* An owner that has ended is nobody. */
    int s[2];
    MUST(pipe(s));
    pid_t child = MUST(fork());
    if (child == 0)
        pause();
    SHOW(fcntl(s[0], F_SETOWN, child));
    MUST(kill(child, SIGKILL));
    MUST(waitpid(child, NULL, 0));
    SHOW(fcntl(s[0], F_GETOWN));
    SHOW(fcntl(s[0], F_SETOWN, child));
    got("child");
    close(s[0]), close(s[1]);
}

static void directories(void)
{
    char b[64];
    MUST(mkdir("d", 0755));
    MUST(mkdir("e", 0755));
    int d = MUST(open("d", O_RDONLY));
    MUST(dup2(d, 40));
    close(d);
    put_file("file", "");
    int f = MUST(open("file", O_RDONLY));
    char enabled = 0;
    int sysctl = MUST(open("/proc/sys/fs/dir-notify-enable", O_RDONLY));
    SHOW(read(sysctl, &enabled, 1));
    SHOW(enabled == '1');
    MUST(close(sysctl));
    SHOW(fcntl(f, F_NOTIFY, DN_CREATE));
    close(f);
    SHOW(fcntl(40, F_NOTIFY, DN_CREATE));
    put_file("d/a", "1");
    got("create, plain");
    put_file("d/b", "1");
    got("once only");
    SHOW(fcntl(40, F_SETSIG, SIGRTMIN));
    SHOW(fcntl(40, F_NOTIFY, DN_CREATE | DN_MULTISHOT));
    put_file("d/c", "1");
    MUST(mkdir("d/dir", 0755));
    got("create");
    SHOW(fcntl(40, F_NOTIFY, DN_DELETE | DN_MULTISHOT));
    MUST(unlink("d/c"));
    got("delete");
    put_file("d/c", "1");
    got("create still");
    MUST(rename("d/c", "e/c"));
    got("moved out");
    MUST(rename("e/c", "d/c"));
    got("moved in");
    SHOW(fcntl(40, F_NOTIFY, 0));
    put_file("d/x", "1");
    got("ended");
    SHOW(fcntl(40, F_NOTIFY, DN_RENAME | DN_MULTISHOT));
    MUST(rename("d/x", "d/y"));
    got("renamed");
    MUST(rename("d/y", "e/y"));
    got("renamed away");
    MUST(rename("e/y", "d/y"));
    got("renamed in");
    SHOW(fcntl(40, F_NOTIFY, 0));
    SHOW(fcntl(40, F_NOTIFY, DN_MODIFY | DN_ATTRIB | DN_ACCESS | DN_MULTISHOT));
    MUST(chmod("d/y", 0600));
    got("attributes");
    MUST(chmod("d", 0700));
    got("attributes of itself");
    f = MUST(open("d/y", O_RDWR));
    got("open");
    MUST(read(f, b, 8));
    got("access");
    MUST(write(f, "x", 1));
    got("modify");
    close(f);
    /* The process that asked ends it by closing any descriptor of the file. */
    MUST(dup2(40, 41));
    close(41);
    MUST(chmod("d/y", 0644));
    got("closed");
    close(40);
}

int main(void)
{
    setpgid(0, 0); /* some of them go to the whole group */
    sigfillset(&all);
    MUST(sigprocmask(SIG_BLOCK, &all, NULL));
    pipes();
    sockets();
    others();
    directories();
    return 0;
}
