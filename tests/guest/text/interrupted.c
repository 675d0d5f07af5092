//@ timeout=60
/* Signal handlers interrupt fast calls anywhere: registers and flags are kept, and the address in the frame is that of the program's own text. */
#include "../check.h"
#include <setjmp.h>
#include <ucontext.h>

static struct {
    unsigned long start, end;
} code[64];
static int codes;
static volatile int handled, elsewhere;
static sigjmp_buf back;

static void learn_code(void) {
    char line[512], prot[8];
    FILE *maps = fopen("/proc/self/maps", "r");
    while (codes < 64 && fgets(line, sizeof line, maps))
        if (sscanf(line, "%lx-%lx %7s", &code[codes].start, &code[codes].end, prot) == 3)
            codes += prot[2] == 'x';
    fclose(maps);
}

static void handler(int signal, siginfo_t *info, void *context) {
    (void)signal;
    (void)info;
    unsigned long rip = ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    int known = 0;
    for (int i = 0; i < codes; i++)
        known |= rip >= code[i].start && rip < code[i].end;
    elsewhere += !known;
    getppid();
    syscall(SYS_getpid);
    handled++;
}

static void jump(int signal) {
    (void)signal;
    siglongjmp(back, 1);
}

/* Calls getppid with values in all registers that a call keeps, and with the carry, zero, sign, overflow and direction flags as given; returns
   what of it came out changed. The site moves three instructions. */
unsigned long checked_call(unsigned long flags, unsigned long *result);
__asm__(".pushsection .text\n"
        ".globl checked_call\n"
        ".type checked_call, @function\n"
        "checked_call:\n"
        "  .cfi_startproc\n"
        "  push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rsi\n"
        "  .cfi_adjust_cfa_offset 56\n"
        "  mov $0x1111111111111111, %rbx\n"
        "  mov $0x2222222222222222, %rbp\n"
        "  mov $0x3333333333333333, %r12\n"
        "  mov $0x4444444444444444, %r13\n"
        "  mov $0x5555555555555555, %r14\n"
        "  mov $0x6666666666666666, %r15\n"
        "  mov %rdi, %r9\n"
        "  mov $0x7777777777777777, %r10\n"
        "  mov $0x8888888888888888, %r8\n"
        "  mov $110, %edx\n"
        "  push %rdi\n"
        "  .cfi_adjust_cfa_offset 8\n"
        "  popfq\n"
        "  .cfi_adjust_cfa_offset -8\n"
        "  mov %r9, %rsi\n"
        "  mov %r9, %rdi\n"
        "  mov %edx, %eax\n"
        "  syscall\n"
        "  pushfq\n"
        "  .cfi_adjust_cfa_offset 8\n"
        "  pop %rcx\n"
        "  .cfi_adjust_cfa_offset -8\n"
        "  cld\n"
        "  mov %rax, %r11\n"
        "  mov %rcx, %rax\n"
        "  and $0xcc1, %eax\n"
        "  xor %r9, %rax\n"
        "  xor %r9, %rdi\n"
        "  or %rdi, %rax\n"
        "  xor %r9, %rsi\n"
        "  or %rsi, %rax\n"
        "  mov $0x1111111111111111, %rdi; xor %rdi, %rbx; or %rbx, %rax\n"
        "  mov $0x2222222222222222, %rdi; xor %rdi, %rbp; or %rbp, %rax\n"
        "  mov $0x3333333333333333, %rdi; xor %rdi, %r12; or %r12, %rax\n"
        "  mov $0x4444444444444444, %rdi; xor %rdi, %r13; or %r13, %rax\n"
        "  mov $0x5555555555555555, %rdi; xor %rdi, %r14; or %r14, %rax\n"
        "  mov $0x6666666666666666, %rdi; xor %rdi, %r15; or %r15, %rax\n"
        "  mov $0x7777777777777777, %rdi; xor %rdi, %r10; or %r10, %rax\n"
        "  mov $0x8888888888888888, %rdi; xor %rdi, %r8; or %r8, %rax\n"
        "  xor $110, %edx; or %rdx, %rax\n"
        "  pop %rsi; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "  .cfi_adjust_cfa_offset -56\n"
        "  mov %r11, (%rsi)\n"
        "  ret\n"
        "  .cfi_endproc\n"
        ".size checked_call, .-checked_call\n"
        ".popsection\n");

int main(void) {
    unsigned long parent = getppid(), result;
    learn_code();
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART};
    MUST(sigaction(SIGALRM, &action, NULL));
    struct itimerval often = {{0, 500}, {0, 500}};
    MUST(setitimer(ITIMER_REAL, &often, NULL));
    const unsigned long flags[] = {0, 1, 0x40, 0x80, 0x800, 0x400, 0xcc1, 0x8c1};
    unsigned long changed = 0, wrong = 0;
    for (int i = 0; i < 20000 || (handled < 50 && i < 10000000); i++) {
        changed |= checked_call(flags[i % 8], &result);
        wrong += result != parent;
        wrong += getppid() != (int)parent;
    }
    printf("changed %lx, wrong %lu, handled %d, elsewhere %d\n", changed, wrong, handled >= 50, elsewhere);
    /* Out of a handler that interrupted a waiting call. */
    int pipes[2], jumps = 0;
    MUST(pipe(pipes));
    struct sigaction leave = {.sa_handler = jump, .sa_flags = SA_NODEFER};
    while (jumps < 100)
        if (sigsetjmp(back, 1)) {
            jumps++;
        } else {
            char c;
            /* Not before there is where to jump to. */
            if (jumps == 0)
                MUST(sigaction(SIGALRM, &leave, NULL));
            if (jumps % 2)
                MUST(read(pipes[0], &c, 1));
            for (;;)
                getppid();
        }
    struct itimerval never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &never, NULL);
    printf("jumps %d\n", jumps);
    return 0;
}
