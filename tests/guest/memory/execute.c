/* Code in memory: written, made executable, rewritten; PROT_EXEC enforced. */
#include "check.h"
#include <setjmp.h>

static sigjmp_buf back;
static void on_fault(int signal)
{
    siglongjmp(back, signal);
}

int main(void)
{
    unsigned char returns[] = {0xb8, 42, 0, 0, 0, 0xc3};
    signal(SIGSEGV, on_fault);
    unsigned char *code = MUST(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    memcpy(code, returns, sizeof returns);
    int (*function)(void) = (void *)code;
    int s = sigsetjmp(back, 1);
    if (s == 0)
        say("executed data: %d", function());
    else
        say("not executable: %s", sigabbrev_np(s));
    SHOW(mprotect(code, 4096, PROT_READ | PROT_EXEC));
    SHOW(function());
    SHOW(mprotect(code, 4096, PROT_READ | PROT_WRITE | PROT_EXEC));
    code[1] = 43;
    SHOW(function());
    /* A system call made from such code. */
    unsigned char getpid_code[] = {0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3};
    memcpy(code, getpid_code, sizeof getpid_code);
    SHOW(function() == getpid());
    unsigned char bad[] = {0xb8, 0xff, 0xff, 0, 0, 0x0f, 0x05, 0xc3};
    memcpy(code, bad, sizeof bad);
    SHOW(function() == -ENOSYS);
    return 0;
}
