/* A program changes the number of a system call in its own text, which was called often before. */
#include "../check.h"

long own_call(void);
extern char own_call_number[];
__asm__(".pushsection .text\n"
        ".balign 4096\n"
        ".globl own_call, own_call_number\n"
        ".type own_call, @function\n"
        "own_call:\n"
        "  .cfi_startproc\n"
        "  mov %rdi, %rdx\n"
        "  .byte 0xb8\n"
        "own_call_number:\n"
        "  .long 39\n"
        "  syscall\n"
        "  ret\n"
        "  .cfi_endproc\n"
        ".size own_call, .-own_call\n"
        ".balign 4096\n"
        ".popsection\n");

static void set_number(int number) {
    void *page = (void *)((uintptr_t)own_call & -4096);
    MUST(mprotect(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC));
    memcpy(own_call_number, &number, 4);
    MUST(mprotect(page, 4096, PROT_READ | PROT_EXEC));
}

static int wrong(long expected) {
    int n = 0;
    for (int i = 0; i < 200; i++)
        n += own_call() != expected;
    return n;
}

int main(void) {
    printf("getpid: %d wrong\n", wrong(getpid()));
    set_number(SYS_getppid);
    printf("getppid: %d wrong\n", wrong(getppid()));
    set_number(SYS_gettid);
    pid_t child = MUST(fork());
    if (child == 0) {
        int n = wrong(gettid());
        set_number(SYS_getpid);
        _exit(n + wrong(getpid()));
    }
    int status;
    MUST(waitpid(child, &status, 0));
    printf("in a child: %d wrong\n", status);
    printf("gettid: %d wrong\n", wrong(gettid()));
    /* Read-only and back. */
    void *page = (void *)((uintptr_t)own_call & -4096);
    MUST(mprotect(page, 4096, PROT_READ));
    printf("number %d\n", *(int *)own_call_number);
    MUST(mprotect(page, 4096, PROT_READ | PROT_EXEC));
    printf("gettid: %d wrong\n", wrong(gettid()));
    return 0;
}
