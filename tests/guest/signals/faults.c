/* Synchronous faults: address, code, and coming back by longjmp. */
#include "check.h"
#include <setjmp.h>
#include <ucontext.h>

static sigjmp_buf back;
static siginfo_t info;
static void on_fault(int signal, siginfo_t *i, void *context)
{
    info = *i;
    siglongjmp(back, signal);
}

static char *page;

#define FAULTS(what, action)                                                                           \
    do {                                                                                               \
        int signal_ = sigsetjmp(back, 1);                                                              \
        if (signal_ == 0) {                                                                            \
            action;                                                                                    \
            say("%s: no fault", what);                                                                 \
        } else {                                                                                       \
            say("%s: %s code %d offset %ld", what, sigabbrev_np(signal_), info.si_code,                \
                (long)((char *)info.si_addr - page));                                                  \
        }                                                                                              \
    } while (0)

static void bare(const char *what, void (*action)(void))
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        for (int s = 1; s < 32; s++)
            signal(s, SIG_DFL);
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        action();
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    show_status(what, status);
}

static void store(void)
{
    *(volatile char *)page = 1;
}
static volatile int zero;
static void divide(void)
{
    zero = 1 / zero;
}
static void trap(void)
{
    __asm__ volatile("int3");
}
static void undefined(void)
{
    __asm__ volatile("ud2");
}
static void privileged(void)
{
    __asm__ volatile("hlt");
}
static void overflow(void)
{
    volatile char room[1 << 16];
    room[0] = 1;
    overflow();
    room[1] = room[0];
}

int main(void)
{
    struct sigaction a = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &a, NULL);
    sigaction(SIGBUS, &a, NULL);
    sigaction(SIGFPE, &a, NULL);
    sigaction(SIGILL, &a, NULL);
    sigaction(SIGTRAP, &a, NULL);
    page = MUST(mmap(NULL, 3 * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    MUST(munmap(page + 4096, 4096));
    MUST(mprotect(page + 8192, 4096, PROT_NONE));
    FAULTS("write to read-only", *(volatile char *)(page + 5) = 1);
    FAULTS("read of nothing", (void)*(volatile char *)(page + 4100));
    FAULTS("read of PROT_NONE", (void)*(volatile char *)(page + 8200));
    FAULTS("read of readable", (void)*(volatile char *)page);
    volatile char stack[16] = {(char)0xc3};
    char *anonymous_page = page;
    page = (char *)stack;
    FAULTS("execute the stack", ((void (*)(void))(uintptr_t)stack)());
    page = anonymous_page;
    put_file("short", "x");
    int fd = MUST(open("short", O_RDWR));
    char *file = MUST(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    char *anonymous = page;
    page = file;
    FAULTS("read beyond the end of a file", (void)*(volatile char *)(file + 4096));
    FAULTS("read within its last page", (void)*(volatile char *)(file + 100));
    page = anonymous;
    int s = sigsetjmp(back, 1);
    if (s == 0)
        divide();
    else
        say("division: %s code %d", sigabbrev_np(s), info.si_code);
    s = sigsetjmp(back, 1);
    if (s == 0)
        undefined();
    else
        say("ud2: %s code %d", sigabbrev_np(s), info.si_code);
    s = sigsetjmp(back, 1);
    if (s == 0)
        trap();
    else
        say("int3: %s code %d", sigabbrev_np(s), info.si_code);
    s = sigsetjmp(back, 1);
    if (s == 0)
        privileged();
    else
        say("hlt: %s code %d address %p", sigabbrev_np(s), info.si_code, info.si_addr);
    s = sigsetjmp(back, 1);
    if (s == 0)
        (void)*(volatile char *)0x8000000000000000;
    else
        say("non-canonical: %s code %d address %p", sigabbrev_np(s), info.si_code, info.si_addr);
    bare("store", store);
    bare("divide", divide);
    bare("int3", trap);
    bare("ud2", undefined);
    bare("stack overflow", overflow);
    bare("abort", abort);
    return 0;
}
