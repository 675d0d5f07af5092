/* Seccomp filters and strict mode. */
#include "check.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <ucontext.h>

#define NR (offsetof(struct seccomp_data, nr))
#define ARG0 (offsetof(struct seccomp_data, args[0]))

/* Returns `action` for the call `nr`, else allows. */
static struct sock_filter for_call[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, NR),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};
static long install(int nr, unsigned action, unsigned flags)
{
    for_call[1].k = nr;
    for_call[2].k = action;
    struct sock_fprog p = {4, for_call};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &p);
}
static void run(const char *what, void (*body)(void))
{
    fflush(stdout);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        body();
        fflush(stdout);
        _exit(0);
    }
    int status;
    MUST(waitpid(pid, &status, 0));
    show_status(what, status);
}

static void on_sys(int signal, siginfo_t *info, void *context)
{
    ucontext_t *u = context;
    say("SIGSYS: code %d errno %d call %d arch %x, rax is the number %d, address behind the call %d", info->si_code, info->si_errno,
        info->si_syscall, info->si_arch, u->uc_mcontext.gregs[REG_RAX] == info->si_syscall,
        info->si_call_addr == (void *)u->uc_mcontext.gregs[REG_RIP]);
    u->uc_mcontext.gregs[REG_RAX] = 77;
}
static void errors(void)
{
    SHOW(prctl(PR_GET_SECCOMP));
    MUST(install(SYS_getppid, SECCOMP_RET_ERRNO | EPROTO, 0));
    SHOW(prctl(PR_GET_SECCOMP));
    SHOW(syscall(SYS_getppid));
    MUST(install(SYS_getppid, SECCOMP_RET_ERRNO | 0, 0));
    SHOW(syscall(SYS_getppid));
    MUST(install(SYS_getppid, SECCOMP_RET_ERRNO | 5000, 0));
    SHOW(syscall(SYS_getppid) == -4095 || errno == 4095);
    MUST(install(SYS_getpgid, SECCOMP_RET_TRACE | 1, 0));
    SHOW(syscall(SYS_getpgid, 0));
    MUST(install(SYS_getpgid, SECCOMP_RET_LOG, 0));
    MUST(install(SYS_getsid, SECCOMP_RET_LOG, 0));
    /* 0 if the leader is outside of this pid namespace. */
    SHOW(syscall(SYS_getsid, 0) >= 0);
    /* Children and programs executed keep them. */
    fflush(stdout);
    if (fork() == 0) {
        SHOW(syscall(SYS_getppid) == -1);
        _exit(0);
    }
    wait(NULL);
}
static void trap(void)
{
    struct sigaction a = {.sa_sigaction = on_sys, .sa_flags = SA_SIGINFO};
    MUST(sigaction(SIGSYS, &a, NULL));
    MUST(install(SYS_getppid, SECCOMP_RET_TRAP | 123, 0));
    SHOW(syscall(SYS_getppid));
    sigset_t s;
    sigfillset(&s);
    sigprocmask(SIG_SETMASK, &s, NULL);
    syscall(SYS_getppid);
    say("not reached");
}
static void kill_process(void)
{
    MUST(install(SYS_getppid, SECCOMP_RET_KILL_PROCESS, 0));
    syscall(SYS_getppid);
}
static void kill_only_thread(void)
{
    MUST(install(SYS_getppid, SECCOMP_RET_KILL_THREAD, 0));
    syscall(SYS_getppid);
}
static void unknown_action(void)
{
    MUST(install(SYS_getppid, 0x00070000, 0));
    syscall(SYS_getppid);
}
static volatile int state;
static void *dies(void *argument)
{
    MUST(install(SYS_getppid, SECCOMP_RET_KILL_THREAD, 0));
    state = 1;
    syscall(SYS_getppid);
    state = 2;
    return NULL;
}
static void kill_one_thread(void)
{
    pthread_t t;
    pthread_create(&t, NULL, dies, NULL);
    pause_ms(200);
    say("state %d, this thread goes on", state);
}
static void *waits(void *argument)
{
    while (!state)
        pause_ms(1);
    SHOW(syscall(SYS_getppid));
    state = 2;
    return NULL;
}
static void all_threads(void)
{
    pthread_t t;
    pthread_create(&t, NULL, waits, NULL);
    SHOW(install(SYS_getppid, SECCOMP_RET_ERRNO | EPROTO, SECCOMP_FILTER_FLAG_TSYNC));
    state = 1;
    pthread_join(t, NULL);
}
static void strict(void)
{
    SHOW(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 1, NULL));
    fflush(stdout);
    MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
    const char text[] = "written in strict mode\n";
    syscall(SYS_write, 1, text, sizeof text - 1);
    syscall(SYS_exit, 5);
}
static void strict_kills(void)
{
    MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
    syscall(SYS_getpid);
}
static void arguments(void)
{
    /* Only for a descriptor of 77. */
    struct sock_filter f[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, NR),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARG0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 77, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOTTY),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog p = {9, f};
    SHOW(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p));
    SHOW(close(77));
    SHOW(close(78));
}
static void bad(void)
{
    struct sock_fprog p = {0, for_call};
    SHOW(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &p));
    p.len = 3;
    for_call[2] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_IMM, 0);
    SHOW(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &p));
    for_call[2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
    p.filter = (void *)8;
    SHOW(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &p));
    SHOW(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, 8));
    SHOW(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0x8000, &p));
    SHOW(syscall(SYS_seccomp, 77, 0, NULL));
    SHOW(prctl(PR_SET_SECCOMP, 9, NULL));
    unsigned action = SECCOMP_RET_ERRNO;
    SHOW(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action));
    action = 0x12340000;
    SHOW(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action));
}
static void without_no_new_privs(void)
{
    if (getuid() == 0)
        MUST(setresuid(1000, 1000, 1000));
    SHOW(install(SYS_getppid, SECCOMP_RET_ALLOW, 0));
}

int main(void)
{
    run("errors", errors);
    run("trap", trap);
    run("kill process", kill_process);
    run("kill the only thread", kill_only_thread);
    run("unknown action", unknown_action);
    run("kill one thread", kill_one_thread);
    run("all threads", all_threads);
    run("strict", strict);
    run("strict kills", strict_kills);
    run("arguments", arguments);
    run("bad", bad);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        without_no_new_privs();
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    return 0;
}
