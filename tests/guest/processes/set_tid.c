//@ root=only
/* What a process is called: clone3's set_tid, and /proc/sys/kernel/ns_last_pid. In a PID namespace, where nobody else takes numbers. */
#include "check.h"
#include <sys/mount.h>

struct args {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

static long make(uint64_t flags, const pid_t *wanted, uint64_t n)
{
    struct args a = {.flags = flags, .exit_signal = SIGCHLD, .set_tid = (uintptr_t)wanted, .set_tid_size = n};
    long pid = syscall(SYS_clone3, &a, sizeof a);
    if (pid == 0) {
        say("child: %d", getpid());
        _exit(0);
    }
    if (pid > 0)
        waitpid(pid, NULL, 0);
    return pid;
}

#define WANT(flags, ...)                                                                  \
    ({                                                                                    \
        pid_t wanted[] = {__VA_ARGS__};                                                   \
        make(flags, wanted, sizeof wanted / sizeof *wanted);                              \
    })

static long next(void)
{
    pid_t pid = MUST(fork());
    if (pid == 0)
        _exit(0);
    waitpid(pid, NULL, 0);
    return pid;
}

static const char *last(const char *text)
{
    int fd = MUST(open("/proc/sys/kernel/ns_last_pid", O_RDWR));
    ssize_t n = write(fd, text, strlen(text));
    const char *result = n < 0 ? strerrorname_np(errno) : "written";
    close(fd);
    return result;
}

static void inside(void)
{
    SHOW(WANT(0, 50));
    SHOW(WANT(0, 50));
    SHOW(WANT(0, 300));
    SHOW(WANT(0, 0));
    SHOW(WANT(0, -1));
    SHOW(WANT(0, 1));
    SHOW(WANT(0, getpid()));
    SHOW(make(0, NULL, 1));
    SHOW(make(0, (pid_t[]){7}, 0));
    SHOW(make(0, (pid_t *)8, 1));
    SHOW(make(0, (pid_t[]){7}, 33));
    SHOW(WANT(0, 7, 8, 9, 10, 11, 12));
    /* A namespace's first is 1, whoever wishes what. */
    SHOW(WANT(CLONE_NEWPID, 2));
    SHOW(WANT(CLONE_NEWPID, 1));
    SHOW(WANT(CLONE_NEWPID, 1, 77));
    SHOW(WANT(CLONE_NEWPID, 1, 1));
    SHOW(WANT(0, 400));
    say("last: %s", last("500"));
    SHOW(next());
    SHOW(next());
    say("last: %s", last("-1"));
    say("last: %s", last("x"));
    say("last: %s", last("100\n"));
    SHOW(next());
    pid_t pid = MUST(fork());
    if (pid == 0) {
        MUST(setuid(1000));
        SHOW(WANT(0, 60));
        SHOW(WANT(0, 0));
        say("last: %s", last("500"));
        _exit(0);
    }
    waitpid(pid, NULL, 0);
}

int main(void)
{
    MUST(unshare(CLONE_NEWPID | CLONE_NEWNS));
    pid_t pid = MUST(fork());
    if (pid == 0) {
        MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
        inside();
        _exit(0);
    }
    int status;
    MUST(waitpid(pid, &status, 0));
    say("ended with %#x", status);
    return 0;
}
