/* Stops at both ends of system calls: the tracer sees all of them and changes number, arguments and result. */
#include "tracer.h"
#include <linux/audit.h>

static void body(void)
{
    say("  getppid %ld", syscall(SYS_getppid) == 4711 ? 4711L : 0L); /* result changed */
    say("  write %ld", syscall(SYS_write, -1, "no", 2));             /* descriptor changed */
    errno = 0;
    long r = syscall(SYS_kill, 1, SIGKILL);                          /* skipped */
    say("  kill %ld %s", r, strerrorname_np(errno));
    errno = 0;
    r = syscall(SYS_unlink, "/nowhere");                             /* becomes getpgid(0) */
    say("  unlink %d", r == getpgrp());
    errno = 0;
    r = syscall(SYS_gettid);
    say("  gettid %d", r == getpid());
    struct timespec t = {0, 1000000};
    say("  nanosleep %d", nanosleep(&t, NULL));
    sched_yield();
}

static void show_call(pid_t pid)
{
    struct __ptrace_syscall_info i;
    memset(&i, 0, sizeof i);
    struct user_regs_struct r = registers(pid);
    long n = trace(PTRACE_GET_SYSCALL_INFO, pid, sizeof i, (unsigned long)&i);
    unsigned long message = 99;
    MUST(trace(PTRACE_GETEVENTMSG, pid, 0, (unsigned long)&message));
    if (i.op == PTRACE_SYSCALL_INFO_ENTRY)
        say("%ld: entry %lu rax %lld same %d %d %d message %lu", n, i.entry.nr, (long long)r.rax, i.entry.nr == r.orig_rax,
            i.entry.args[0] == r.rdi, i.instruction_pointer == r.rip && i.stack_pointer == r.rsp && i.arch == AUDIT_ARCH_X86_64, message);
    else
        say("%ld: op %d error %d same %d %d message %lu", n, i.op, i.op == PTRACE_SYSCALL_INFO_EXIT ? i.exit.is_error : 9,
            i.op != PTRACE_SYSCALL_INFO_EXIT || i.exit.rval == (long long)r.rax, i.instruction_pointer == r.rip, message);
}

/* To the next entry of call `nr`; says what comes before. */
static void to_call(pid_t pid, long nr)
{
    for (;;) {
        MUST(trace(PTRACE_SYSCALL, pid, 0, 0));
        int status;
        MUST(waitpid(pid, &status, 0));
        if (!WIFSTOPPED(status) || WSTOPSIG(status) != (SIGTRAP | 0x80)) {
            say("not a call: %#x", status);
            exit(1);
        }
        struct user_regs_struct r = registers(pid);
        if ((long)r.orig_rax == nr && (long)r.rax == -ENOSYS)
            return;
    }
}

static void leave(pid_t pid)
{
    MUST(trace(PTRACE_SYSCALL, pid, 0, 0));
    wait_for("exit", pid);
}

int main(void)
{
    pid_t pid = start(body);
    SHOW(trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD));
    struct user_regs_struct r;

    to_call(pid, SYS_getppid);
    show_call(pid);
    leave(pid);
    show_call(pid);
    r = registers(pid);
    r.rax = 4711;
    MUST(trace(PTRACE_SETREGS, pid, 0, (unsigned long)&r));

    int null = open("/dev/null", O_WRONLY);
    to_call(pid, SYS_write); /* what say printed */
    leave(pid);
    to_call(pid, SYS_write);
    r = registers(pid);
    say("write to %d", (int)r.rdi);
    r.rdi = 1;
    MUST(trace(PTRACE_SETREGS, pid, 0, (unsigned long)&r));
    leave(pid);
    say(" <- written");

    to_call(pid, SYS_kill);
    SHOW(trace(PTRACE_POKEUSER, pid, offsetof(struct user, regs.orig_rax), -1));
    leave(pid);
    show_call(pid);

    to_call(pid, SYS_unlink);
    r = registers(pid);
    r.orig_rax = SYS_getpgid;
    r.rdi = 0;
    MUST(trace(PTRACE_SETREGS, pid, 0, (unsigned long)&r));
    leave(pid);
    say("orig_rax %lld", (long long)registers(pid).orig_rax);

    /* What the platform may answer by itself is seen. */
    to_call(pid, SYS_gettid);
    leave(pid);
    say("gettid %d", (pid_t)registers(pid).rax == pid);
    to_call(pid, SYS_clock_nanosleep);
    leave(pid);
    to_call(pid, SYS_sched_yield);
    leave(pid);

    to_call(pid, SYS_exit_group);
    unsigned char few[5];
    SHOW(trace(PTRACE_GET_SYSCALL_INFO, pid, sizeof few, (unsigned long)few));
    SHOW(trace(PTRACE_SYSCALL, pid, 0, 0));
    wait_for("end", pid);
    close(null);

    /* A signal that is given at the end of a call; without SYSGOOD. */
    pid = start(body);
    MUST(trace(PTRACE_SYSCALL, pid, 0, 0));
    wait_for("entry", pid);
    MUST(trace(PTRACE_SYSCALL, pid, 0, 0));
    wait_for("exit", pid);
    MUST(trace(PTRACE_SYSCALL, pid, 0, SIGTERM));
    wait_for("signal", pid);
    MUST(trace(PTRACE_SYSCALL, pid, 0, SIGTERM));
    wait_for("end", pid);

    /* Calls that the tracer makes itself. */
    pid = start(body);
    for (int i = 0; i < 3; i++) {
        MUST(trace(PTRACE_SYSEMU, pid, 0, 0));
        wait_for("emulate", pid);
        r = registers(pid);
        if (r.orig_rax == SYS_getppid)
            r.rax = 4711;
        else if (r.orig_rax == SYS_write)
            r.rax = r.rdx;
        else
            break;
        MUST(trace(PTRACE_SETREGS, pid, 0, (unsigned long)&r));
    }
    SHOW(trace(PTRACE_KILL, pid, 0, 0));
    wait_for("killed", pid);
    return 0;
}
