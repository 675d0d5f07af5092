/* What tests of ptrace(2) share: waiting for a tracee and printing how it stands. Ids are printed as names. */
#pragma once
#include "../check.h"
#include <stdbool.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#ifndef PTRACE_EVENT_STOP
#define PTRACE_EVENT_STOP 128
#endif

static inline long trace(long request, pid_t pid, unsigned long addr, unsigned long data)
{
    /* The raw call: what it returns is what the kernel says. */
    return syscall(SYS_ptrace, request, pid, addr, data);
}

static inline const char *event_name(int event)
{
    static const char *const names[] = {"", " fork", " vfork", " clone", " exec", " vfork-done", " exit", " seccomp"};
    if (event >= 0 && event < 8)
        return names[event];
    return event == PTRACE_EVENT_STOP ? " stop" : " ?";
}

/* Waits for the tracee (any if -1, whose id is returned) and says how it stands. */
static inline pid_t wait_for(const char *who, pid_t pid)
{
    int status = 0;
    errno = 0;
    pid_t got = waitpid(pid, &status, __WALL);
    if (got < 0) {
        say("%s: wait: %s", who, strerrorname_np(errno));
        return got;
    }
    if (WIFSTOPPED(status))
        say("%s: stopped %s%s%s", who, WSTOPSIG(status) & 0x80 ? "call " : "",
            sigabbrev_np(WSTOPSIG(status) & 0x7f), event_name(status >> 16));
    else
        show_status(who, status);
    return got;
}

/* PTRACE_GETREGS. */
static inline struct user_regs_struct registers(pid_t pid)
{
    struct user_regs_struct r;
    MUST(trace(PTRACE_GETREGS, pid, 0, (unsigned long)&r));
    return r;
}

static inline unsigned long peek(pid_t pid, const void *addr)
{
    unsigned long word = 0;
    MUST(trace(PTRACE_PEEKDATA, pid, (unsigned long)addr, (unsigned long)&word));
    return word;
}

/* A child that asks to be traced and waits for its tracer. */
static inline pid_t start(void (*body)(void))
{
    fflush(stdout);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        MUST(trace(PTRACE_TRACEME, 0, 0, 0));
        raise(SIGSTOP);
        body();
        _exit(0);
    }
    wait_for("start", pid);
    return pid;
}
