/* Breakpoints in own and library text, pokes where the program may not write, single steps, registers. */
#include "tracer.h"
#include <elf.h>
#include <sys/syscall.h>

static volatile int counter;
__attribute__((noinline)) static int target(int x)
{
    counter++;
    __asm__ volatile("" ::: "memory");
    return x * 3;
}

static const char constant[64] = "constant";
static volatile char *nothing;
static char *shared_ro;

static void body(void)
{
    for (int i = 0; i < 3; i++)
        say("  target(%d) = %d", i, target(i));
    say("  %s", constant);
    for (int i = 0; i < 3; i++)
        say("  getppid %d", getppid() > 0);
    /* Not compiled away. */
    say("  strlen %zu", strlen(getenv("PATH") ? "four" : ""));
    nothing[0] = 1;
}

/* Sets a breakpoint, runs there, takes it out again and puts the tracee before it. */
static void run_to(pid_t pid, const void *where, const char *name)
{
    unsigned long old = peek(pid, where);
    SHOW(trace(PTRACE_POKETEXT, pid, (unsigned long)where, (old & ~0xfful) | 0xcc));
    say("%s: there: %d", name, (peek(pid, where) & 0xff) == 0xcc);
    MUST(trace(PTRACE_CONT, pid, 0, 0));
    wait_for(name, pid);
    siginfo_t i;
    MUST(trace(PTRACE_GETSIGINFO, pid, 0, (unsigned long)&i));
    struct user_regs_struct r = registers(pid);
    say("%s: at it %d code %d orig_rax %lld", name, r.rip == (unsigned long)where + 1, i.si_code, (long long)r.orig_rax);
    MUST(trace(PTRACE_POKETEXT, pid, (unsigned long)where, old));
    r.rip = (unsigned long)where;
    MUST(trace(PTRACE_SETREGS, pid, 0, (unsigned long)&r));
}

static void steps(pid_t pid)
{
    /* Over instructions, a call and a system call: the tracee's way is ours. */
    unsigned long before = registers(pid).rip;
    MUST(trace(PTRACE_SINGLESTEP, pid, 0, 0));
    wait_for("step", pid);
    siginfo_t i;
    MUST(trace(PTRACE_GETSIGINFO, pid, 0, (unsigned long)&i));
    struct user_regs_struct r = registers(pid);
    say("moved %d code %d addr is rip %d flag %d", r.rip != before, i.si_code, i.si_addr == (void *)r.rip, !!(r.eflags & 0x100));
    int seen = 0;
    for (int n = 0; n < 20000; n++) {
        unsigned long word = peek(pid, (void *)registers(pid).rip);
        bool call = (word & 0xffff) == 0x050f;
        unsigned long nr = registers(pid).rax;
        unsigned long at = registers(pid).rip;
        MUST(trace(PTRACE_SINGLESTEP, pid, 0, 0));
        int status;
        MUST(waitpid(pid, &status, 0));
        if (status >> 8 != SIGTRAP) {
            say("not a step: %#x", status);
            return;
        }
        if (call && (nr == SYS_getppid || nr == SYS_write)) {
            MUST(trace(PTRACE_GETSIGINFO, pid, 0, (unsigned long)&i));
            r = registers(pid);
            say("stepped over call %lu: behind it %d code %d result %d", nr, r.rip == at + 2, i.si_code, (long)r.rax > 0);
            if (++seen == 2)
                return;
        }
    }
    say("too many steps");
}

int main(void)
{
    nothing = MUST(mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    int fd = MUST(open("/proc/self/exe", O_RDONLY));
    shared_ro = MUST(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0));
    pid_t pid = start(body);
    for (int i = 0; i < 2; i++)
        run_to(pid, (void *)target, "target");
    struct user_regs_struct r = registers(pid);
    say("argument %d", (int)r.rdi);
    r.rdi = 100;
    MUST(trace(PTRACE_SETREGS, pid, 0, (unsigned long)&r));
    /* In the C library, which other processes run too. */
    run_to(pid, (void *)getppid, "getppid");
    say("ours has none: %d", *(volatile unsigned char *)getppid != 0xcc);
    steps(pid);

    say("where it may not write");
    unsigned long word;
    memcpy(&word, "chang'd", 8);
    SHOW(trace(PTRACE_POKEDATA, pid, (unsigned long)constant, word));
    say("%s here", constant);
    SHOW(trace(PTRACE_POKEDATA, pid, (unsigned long)nothing, 77));
    say("nothing: %lu", peek(pid, (void *)nothing));
    SHOW(trace(PTRACE_POKEDATA, pid, (unsigned long)shared_ro, 77));
    say("shared: %d", peek(pid, shared_ro) == *(unsigned long *)shared_ro);
    /* Across two pages, the second of which is not there. */
    SHOW(trace(PTRACE_POKEDATA, pid, (unsigned long)shared_ro + 4096 * 1000 - 4, 77));
    char name[64];
    sprintf(name, "/proc/%d/mem", pid);
    int mem = MUST(open(name, O_RDWR));
    char buffer[16] = "";
    SHOW(pread(mem, buffer, 8, (long)constant));
    say("%s", buffer);
    SHOW(pwrite(mem, "by mem", 7, (long)constant));
    SHOW(pread(mem, buffer, 8, (long)nothing));
    SHOW(pread(mem, buffer, 8, 8));
    close(mem);
    struct iovec local = {buffer, 8}, remote = {(void *)constant, 8};
    SHOW(process_vm_readv(pid, &local, 1, &remote, 1, 0));
    say("%s", buffer);
    SHOW(process_vm_writev(pid, &local, 1, &remote, 1, 0));

    say("register sets");
    struct user_regs_struct set;
    struct iovec v = {&set, sizeof set + 8};
    SHOW(trace(PTRACE_GETREGSET, pid, NT_PRSTATUS, (unsigned long)&v));
    r = registers(pid);
    say("%zu of %zu same %d cs %#llx ss %#llx", v.iov_len, sizeof set, !memcmp(&set, &r, sizeof r), r.cs, r.ss);
    v.iov_len = 16;
    SHOW(trace(PTRACE_SETREGSET, pid, NT_PRSTATUS, (unsigned long)&v));
    struct user_fpregs_struct fp;
    SHOW(trace(PTRACE_GETFPREGS, pid, 0, (unsigned long)&fp));
    say("cwd %#x mxcsr %#x", fp.cwd, fp.mxcsr);
    fp.xmm_space[60] = 0x12345678;
    SHOW(trace(PTRACE_SETFPREGS, pid, 0, (unsigned long)&fp));
    memset(&fp, 0, sizeof fp);
    v = (struct iovec){&fp, sizeof fp};
    SHOW(trace(PTRACE_GETREGSET, pid, NT_PRFPREG, (unsigned long)&v));
    say("%zu: %#x", v.iov_len, fp.xmm_space[60]);
    static unsigned char state[16384];
    v = (struct iovec){state, sizeof state};
    SHOW(trace(PTRACE_GETREGSET, pid, NT_X86_XSTATE, (unsigned long)&v));
    say("%d: %#x", v.iov_len >= 576, *(unsigned *)(state + 160 + 240));
    *(unsigned *)(state + 160 + 240) = 0x87654321;
    SHOW(trace(PTRACE_SETREGSET, pid, NT_X86_XSTATE, (unsigned long)&v));
    MUST(trace(PTRACE_GETFPREGS, pid, 0, (unsigned long)&fp));
    say("%#x", fp.xmm_space[60]);
    word = 0;
    SHOW(trace(PTRACE_PEEKUSER, pid, offsetof(struct user, regs.rip), (unsigned long)&word));
    say("%d", word == r.rip);
    SHOW(trace(PTRACE_PEEKUSER, pid, offsetof(struct user, u_debugreg[7]), (unsigned long)&word));
    say("dr7 %lu", word);
    SHOW(trace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[7]), 0));
    SHOW(trace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[4]), 0));
    /* Addresses are kept, whether or not anything breaks there. */
    SHOW(trace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[3]), 1));
    SHOW(trace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[3]), 2));
    SHOW(trace(PTRACE_PEEKUSER, pid, offsetof(struct user, u_debugreg[3]), (unsigned long)&word));
    say("dr3 %lu", word);
    SHOW(trace(PTRACE_PEEKUSER, pid, offsetof(struct user, u_debugreg[2]), (unsigned long)&word));
    say("dr2 %lu", word);
    SHOW(trace(PTRACE_POKEUSER, pid, offsetof(struct user, regs.cs), 0));
    SHOW(trace(PTRACE_POKEUSER, pid, offsetof(struct user, regs.ds), 1));
    SHOW(trace(PTRACE_POKEUSER, pid, offsetof(struct user, regs.fs_base), -1));
    SHOW(trace(PTRACE_POKEUSER, pid, offsetof(struct user, regs.eflags), r.eflags | 0x3000 | 1 << 17));
    say("eflags as before %d", registers(pid).eflags == r.eflags);

    MUST(trace(PTRACE_CONT, pid, 0, 0));
    wait_for("fault", pid);
    MUST(trace(PTRACE_DETACH, pid, 0, SIGSEGV));
    wait_for("end", pid);
    return 0;
}
