//@ root=only
/* PID namespaces (pid_namespaces(7)): numbers, init's signals, orphans, the end. */
#include "check.h"
#include <sys/mount.h>
#include <sys/prctl.h>

static char stack[65536] __attribute__((aligned(16)));

static void wait_for(const char *who, pid_t pid)
{
    int status;
    MUST(waitpid(pid, &status, 0));
    show_status(who, status);
}

static pid_t in_new(int flags, int (*run)(void *))
{
    return MUST(clone(run, stack + sizeof stack, flags | CLONE_NEWPID | SIGCHLD, NULL));
}

static volatile sig_atomic_t heard_of, sender;

static void heard(int signal, siginfo_t *info, void *context)
{
    sender = info->si_pid;
    heard_of = 1;
}

/* Waits for the handler, so that lines come in order. */
static void show_heard(void)
{
    while (!heard_of)
        pause_ms(1);
    heard_of = 0;
    say("heard of %d", sender);
}

static int numbers(void *unused)
{
    say("pid %d tid %ld parent %d group %d session %d", getpid(), syscall(SYS_gettid), getppid(), getpgrp(), getsid(0));
    SHOW(setsid());
    say("group %d session %d", getpgrp(), getsid(0));
    pid_t child = fork();
    if (child == 0) {
        say("child %d of %d, group %d", getpid(), getppid(), getpgrp());
        SHOW(setpgid(0, 0));
        SHOW(getpgid(1));
        SHOW(kill(getpid(), 0));
        SHOW(kill(300, 0));
        SHOW(getpgid(300));
        _exit(4);
    }
    siginfo_t info;
    SHOW(waitid(P_PID, child, &info, WEXITED | WNOWAIT));
    say("child was %d", child);
    say("si_pid %d status %d", info.si_pid, info.si_status);
    SHOW(waitpid(child, NULL, 0));
    SHOW(waitpid(-1, NULL, 0));
    SHOW(kill(-1, SIGTERM));
    SHOW(unshare(CLONE_NEWPID));
    SHOW(unshare(CLONE_NEWPID));
    child = fork();
    if (child == 0) {
        say("below: %d of %d", getpid(), getppid());
        _exit(0);
    }
    wait_for("below", child);
    say("below it was %d here", child);
    SHOW(fork());
    return 3;
}

static int init_signals(void *unused)
{
    struct sigaction act = {.sa_sigaction = heard, .sa_flags = SA_SIGINFO};
    SHOW(kill(1, SIGTERM));
    SHOW(kill(1, SIGKILL));
    SHOW(raise(SIGUSR1));
    sigaction(SIGUSR2, &act, NULL);
    SHOW(kill(1, SIGUSR2));
    show_heard();
    pid_t child = fork();
    if (child == 0) {
        SHOW(kill(1, SIGKILL));
        SHOW(kill(1, SIGUSR2));
        _exit(0);
    }
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    show_heard();
    prctl(PR_SET_NAME, "waiting");
    show_heard();
    for (;;)
        pause();
}

static int orphans(void *unused)
{
    int ready[2];
    MUST(pipe(ready));
    pid_t child = fork();
    if (child == 0) {
        pid_t orphan = fork();
        if (orphan == 0) {
            char c;
            close(ready[1]);
            (void)!read(ready[0], &c, 1);
            while (getppid() != 1)
                pause_ms(1);
            say("orphan %d has parent %d", getpid(), getppid());
            _exit(9);
        }
        _exit(0);
    }
    close(ready[0]);
    SHOW(waitpid(child, NULL, 0));
    MUST(write(ready[1], "x", 1));
    int status;
    SHOW(wait(&status));
    show_status("orphan", status);
    return 0;
}

static int dies_first(void *unused)
{
    for (int i = 0; i < 3; i++)
        if (fork() == 0) {
            signal(SIGTERM, SIG_IGN);
            if (i == 2)
                fork();
            for (;;)
                pause();
        }
    return 5;
}

static int with_proc(void *unused)
{
    MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    MUST(mount("proc", "/proc", "proc", 0, NULL));
    char text[64];
    ssize_t n = MUST(readlink("/proc/self", text, sizeof text - 1));
    text[n] = 0;
    say("self is %s", text);
    FILE *f = fopen("/proc/self/status", "r");
    for (char line[256]; fgets(line, sizeof line, f);)
        if (!strncmp(line, "Pid", 3) || !strncmp(line, "PPid", 4) || !strncmp(line, "NSpid", 5) || !strncmp(line, "Tgid", 4))
            printf("%s", line);
    fclose(f);
    show_file("/proc/sys/kernel/cap_last_cap");
    WORKS(access("/proc/1/stat", F_OK));
    WORKS(access("/proc/300/stat", F_OK));
    pid_t child = fork();
    if (child == 0)
        for (;;)
            pause();
    WORKS(access("/proc/2/stat", F_OK));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    WORKS(access("/proc/2/stat", F_OK));
    return 0;
}

static int thread(void *unused)
{
    return 0;
}

int main(void)
{
    wait_for("numbers", in_new(0, numbers));
    wait_for("orphans", in_new(0, orphans));
    wait_for("with proc", in_new(CLONE_NEWNS, with_proc));

    pid_t init = in_new(0, init_signals);
    for (char path[64], name[32] = ""; strcmp(name, "waiting\n");) {
        snprintf(path, sizeof path, "/proc/%d/comm", init);
        FILE *f = fopen(path, "r");
        (void)!fgets(name, sizeof name, f);
        fclose(f);
        pause_ms(1);
    }
    say("NSpid ends in 1:");
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/status", init);
    FILE *f = fopen(path, "r");
    while (fgets(line, sizeof line, f))
        if (!strncmp(line, "NSpid", 5))
            say("%d", !strcmp(strrchr(line, '\t'), "\t1\n"));
    fclose(f);
    SHOW(kill(init, SIGTERM));
    MUST(kill(init, SIGUSR2));
    pause_ms(100);
    SHOW(waitpid(init, NULL, WNOHANG));
    SHOW(kill(init, SIGKILL));
    wait_for("init", init);

    int gone[2];
    char c;
    MUST(pipe(gone));
    pid_t first = in_new(0, dies_first);
    close(gone[1]);
    wait_for("dies first", first);
    /* All that had the other end are gone by now. */
    SHOW(fcntl(gone[0], F_SETFL, O_NONBLOCK));
    SHOW(read(gone[0], &c, 1));

    pid_t own = getpid();
    SHOW(unshare(CLONE_NEWPID));
    say("still %d", getpid() == own);
    SHOW(clone(thread, stack + sizeof stack, CLONE_THREAD | CLONE_VM | CLONE_SIGHAND, NULL));
    SHOW(clone(thread, stack + sizeof stack, CLONE_NEWPID | CLONE_THREAD | CLONE_VM | CLONE_SIGHAND, NULL));
    SHOW(clone(thread, stack + sizeof stack, CLONE_NEWUSER | CLONE_FS, NULL));
    WORKS(access("/proc/self/ns/pid_for_children", F_OK));
    pid_t child = fork();
    if (child == 0) {
        say("first: %d of %d", getpid(), getppid());
        pid_t second = fork();
        if (second == 0)
            for (;;)
                pause();
        _exit(second != 2);
    }
    wait_for("first", child);
    WORKS(access("/proc/self/ns/pid_for_children", F_OK));
    SHOW(fork());
    return 0;
}
