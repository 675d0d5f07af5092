/* What handlers see of the interrupted program and what they change: registers, FPU state, mask, alternate stacks, bad frames. */
#include "check.h"
#include <setjmp.h>
#include <sys/prctl.h>
#include <ucontext.h>
#include <xmmintrin.h>

static void install(int signal, void (*handler)(int, siginfo_t *, void *), int flags)
{
    struct sigaction a = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};
    MUST(sigaction(signal, &a, NULL));
}

static volatile double in_handler;
static unsigned mxcsr_seen, control_seen;
static void clobber(int signal, siginfo_t *info, void *context)
{
    ucontext_t *u = context;
    mxcsr_seen = _mm_getcsr();
    unsigned short control;
    __asm__ volatile("fnstcw %0" : "=m"(control));
    control_seen = control;
    for (int i = 0; i < 100; i++)
        in_handler += i * 1.5;
    __asm__ volatile("pxor %%xmm0,%%xmm0\n pxor %%xmm7,%%xmm7\n pxor %%xmm15,%%xmm15" ::: "xmm0", "xmm7", "xmm15");
    say("frame aligned %d, fpstate aligned %d, flags %lx",
        (int)((uintptr_t)__builtin_frame_address(0) % 16), (int)((uintptr_t)u->uc_mcontext.fpregs % 64),
        u->uc_flags & 7);
    unsigned *sw = (unsigned *)((char *)u->uc_mcontext.fpregs + 464);
    say("magic %x, size of the extended state agrees %d, second magic %x", sw[0], sw[1] == sw[4] + 4,
        *(unsigned *)((char *)u->uc_mcontext.fpregs + sw[4]));
    say("rounding of the interrupted program in the frame: %x", ((unsigned *)u->uc_mcontext.fpregs)[6] & 0x6000);
}

static void skip(int signal, siginfo_t *info, void *context)
{
    ucontext_t *u = context;
    u->uc_mcontext.gregs[REG_RIP] += 2;
    u->uc_mcontext.gregs[REG_RAX] = 42;
    u->uc_mcontext.gregs[REG_EFL] |= 1;
    say("signal %d code %d at the instruction %d", signal, info->si_code,
        (long)info->si_addr == u->uc_mcontext.gregs[REG_RIP] - 2);
}

static void mask_in_frame(int signal, siginfo_t *info, void *context)
{
    ucontext_t *u = context;
    sigset_t now;
    sigprocmask(SIG_SETMASK, NULL, &now);
    say("while handling: USR1 blocked %d, USR2 blocked %d", sigismember(&now, SIGUSR1), sigismember(&now, SIGUSR2));
    say("in the frame: USR1 %d", sigismember(&u->uc_sigmask, SIGUSR1));
    sigaddset(&u->uc_sigmask, SIGUSR2);
    sigaddset(&u->uc_sigmask, SIGKILL);
}

static char alternate[65536];
static void where(int signal, siginfo_t *info, void *context)
{
    ucontext_t *u = context;
    stack_t now;
    sigaltstack(NULL, &now);
    char here;
    say("on the alternate stack %d, flags %x, in the frame: flags %x same %d", &here >= alternate && &here < alternate + sizeof alternate,
        now.ss_flags, u->uc_stack.ss_flags, u->uc_stack.ss_sp == alternate);
    stack_t other = {.ss_sp = alternate, .ss_size = sizeof alternate - 4096};
    SHOW(sigaltstack(&other, NULL));
}

static sigjmp_buf back;
static void escape(int signal, siginfo_t *info, void *context)
{
    siglongjmp(back, signal);
}

static void in_child(const char *what, void (*body)(void))
{
    fflush(stdout);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        body();
        _exit(0);
    }
    int status;
    MUST(waitpid(pid, &status, 0));
    show_status(what, status);
}

static void *no_stack;
static void without_stack(void)
{
    install(SIGUSR1, where, 0);
    no_stack = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    __asm__ volatile("mov %0,%%rsp\n mov %1,%%edi\n mov %2,%%esi\n mov $200,%%eax\n syscall" ::"r"((char *)no_stack + 2048),
                     "r"((int)gettid()), "r"(SIGUSR1)
                     : "rax", "rdi", "rsi");
}
static void on_small_stack(void)
{
    static char small[2048];
    stack_t s = {.ss_sp = small, .ss_size = sizeof small};
    MUST(sigaltstack(&s, NULL));
    install(SIGUSR1, where, SA_ONSTACK);
    /* Too small for this processor's frames, or enough: on both sides the same. */
    raise(SIGUSR1);
}
static void sigreturn_into_nothing(void)
{
    __asm__ volatile("mov %0,%%rsp\n mov $15,%%eax\n syscall" ::"r"(16L) : "rax");
}
static void sigreturn_of_garbage(void)
{
    static char garbage[4096] __attribute__((aligned(64)));
    memset(garbage, 0x55, sizeof garbage);
    __asm__ volatile("mov %0,%%rsp\n mov $15,%%eax\n syscall" ::"r"(garbage) : "rax");
}
static void blocked_fault(void)
{
    install(SIGSEGV, escape, 0);
    sigset_t s;
    sigfillset(&s);
    sigprocmask(SIG_SETMASK, &s, NULL);
    *(volatile int *)8 = 1;
}
static void ignored_fault(void)
{
    signal(SIGSEGV, SIG_IGN);
    *(volatile int *)8 = 1;
}
static void no_restorer(void)
{
    struct {
        void *handler;
        unsigned long flags;
        void *restorer;
        unsigned long mask;
    } raw = {escape, SA_SIGINFO, NULL, 0};
    SHOW(syscall(SYS_rt_sigaction, SIGUSR1, &raw, NULL, 8));
    raise(SIGUSR1);
}

int main(void)
{
    install(SIGUSR1, clobber, 0);
    _mm_setcsr(_mm_getcsr() | 0x6000);
    unsigned short control;
    __asm__ volatile("fnstcw %0" : "=m"(control));
    control |= 0xc00;
    __asm__ volatile("fldcw %0" ::"m"(control));
    unsigned long values[4] = {0x1111111111111111, 0x2222222222222222, 0x3333333333333333, 0x4444444444444444}, out[4];
    long kept_rbx, kept_r15;
    __asm__ volatile("movdqu (%[in]),%%xmm0\n movdqu 16(%[in]),%%xmm15\n movdqu (%[in]),%%xmm7\n"
                     "mov $0x123456789,%%r12\n mov $0x987654321,%%r15\n fld1\n"
                     "mov $200,%%eax\n mov %[tid],%%edi\n mov %[sig],%%esi\n syscall\n"
                     "movdqu %%xmm0,(%[out])\n movdqu %%xmm15,16(%[out])\n mov %%r12,%[b]\n mov %%r15,%[c]\n fstp %%st(0)"
                     : [b] "=m"(kept_rbx), [c] "=m"(kept_r15)
                     : [in] "r"(values), [out] "r"(out), [tid] "r"((int)gettid()), [sig] "r"(SIGUSR1)
                     : "rax", "rdi", "rsi", "rcx", "r11", "r12", "r15", "xmm0", "xmm7", "xmm15", "memory");
    say("vector registers kept %d, general ones %lx %lx", !memcmp(values, out, sizeof out), kept_rbx, kept_r15);
    say("handler's own FPU state: mxcsr %x control %x; ours: %x", mxcsr_seen, control_seen, _mm_getcsr() & 0x6000);
    _mm_setcsr(0x1f80);

    install(SIGILL, skip, 0);
    long rax = 0, carry = 0;
    __asm__ volatile("clc\n ud2\n setc %b1\n mov %%rax,%0" : "=m"(rax), "=q"(carry)::"rax", "cc", "memory");
    say("rax %ld", rax);

    install(SIGUSR1, mask_in_frame, 0);
    raise(SIGUSR1);
    sigset_t now;
    sigprocmask(SIG_SETMASK, NULL, &now);
    say("after: USR1 %d USR2 %d KILL %d", sigismember(&now, SIGUSR1), sigismember(&now, SIGUSR2), sigismember(&now, SIGKILL));
    sigemptyset(&now);
    sigprocmask(SIG_SETMASK, &now, NULL);

    stack_t s = {.ss_sp = alternate, .ss_size = sizeof alternate};
    MUST(sigaltstack(&s, NULL));
    install(SIGUSR1, where, SA_ONSTACK);
    raise(SIGUSR1);
    s.ss_flags = 1 << 31;
    MUST(sigaltstack(&s, NULL));
    raise(SIGUSR1);
    sigaltstack(NULL, &s);
    say("afterwards: flags %x size %zu", s.ss_flags, s.ss_size);

    install(SIGFPE, escape, 0);
    install(SIGSEGV, escape, 0);
    volatile int zero = 0;
    int got = sigsetjmp(back, 1);
    if (!got)
        zero = 1 / zero;
    say("jumped out of %d", got);
    got = sigsetjmp(back, 1);
    if (!got)
        *(volatile int *)8 = 1;
    say("jumped out of %d", got);
    signal(SIGSEGV, SIG_DFL);
    signal(SIGUSR1, SIG_DFL);

    in_child("no stack for the frame", without_stack);
    in_child("a small alternate stack", on_small_stack);
    in_child("sigreturn without a frame", sigreturn_into_nothing);
    in_child("sigreturn of garbage", sigreturn_of_garbage);
    in_child("blocked fault", blocked_fault);
    in_child("ignored fault", ignored_fault);
    in_child("no restorer", no_restorer);
    return 0;
}
