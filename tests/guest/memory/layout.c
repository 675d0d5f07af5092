/* Stacks that grow, mremap's corners, madvise over fork, limits, locks, reading other processes' memory. */
#include "check.h"
#include <sys/auxv.h>

#define PAGE 4096L

static char at_depth(int kib)
{
    volatile char frame[1024];
    frame[0] = kib;
    frame[1023] = kib > 0 ? at_depth(kib - 1) : 1;
    return frame[1023];
}

static int overflow(int n)
{
    volatile char frame[4096];
    frame[n % 4096] = 1;
    return overflow(n + 1) + frame[n % 4096];
}

static void on_segv(int s, siginfo_t *i, void *u)
{
    (void)u;
    say("signal %d code %d", s, i->si_code);
    _exit(0);
}

static void in_child(void (*f)(void))
{
    if (fork() == 0) {
        f();
        _exit(0);
    }
    int status;
    wait(&status);
    say("status %x", status);
}

static void overflow_with_handler(void)
{
    static char alt[65536];
    stack_t ss = {.ss_sp = alt, .ss_size = sizeof alt};
    MUST(sigaltstack(&ss, NULL));
    struct sigaction sa = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    MUST(sigaction(SIGSEGV, &sa, NULL));
    struct rlimit l = {1 << 20, 8 << 20};
    MUST(setrlimit(RLIMIT_STACK, &l));
    say("%d", overflow(0));
}

static void call_into_new_stack(void)
{
    /* The kernel writes where the program has never been. */
    int p[2];
    MUST(pipe(p));
    char *far = __builtin_alloca(3 << 20);
    MUST(write(p[1], "deep", 4));
    SHOW(read(p[0], far, 4));
    say("%.4s", far);
}

int main(void)
{
    say("depth %d", at_depth(4000));
    in_child(call_into_new_stack);
    in_child(overflow_with_handler);

    /* A stack of one's own that grows. */
    char *area = MUST(mmap(NULL, 1024 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    MUST(munmap(area, 1024 * PAGE));
    char *top = MUST(mmap(area + 1000 * PAGE, PAGE, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0));
    top[-1] = 5;
    top[-PAGE * 10] = 6;
    say("grown %d %d", top[-1], top[-10 * PAGE]);
    unsigned char vec[16];
    SHOW(mincore(top - 10 * PAGE, 11 * PAGE, vec));
    SHOW(mincore(top - 12 * PAGE, PAGE, vec));

    /* mremap */
    char *m = MUST(mmap(NULL, 10 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    memset(m, 3, 10 * PAGE);
    MUST(mprotect(m + 5 * PAGE, PAGE, PROT_READ));
    SHOW(mremap(m + 4 * PAGE, 2 * PAGE, 3 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED ? errno : 0);
    SHOW(mremap(m, 0, PAGE, MREMAP_MAYMOVE) == MAP_FAILED ? errno : 0);
    SHOW(mremap(m, PAGE, 0, 0) == MAP_FAILED ? errno : 0);
    SHOW(mremap(m, PAGE, 2 * PAGE, 0) == MAP_FAILED ? errno : 0);
    SHOW(mremap(m + 1, PAGE, PAGE, 0) == MAP_FAILED ? errno : 0);
    SHOW(mremap(m, PAGE, PAGE, 8) == MAP_FAILED ? errno : 0);
    SHOW(mremap(m, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, m + PAGE) == MAP_FAILED ? errno : 0);
    char *left = mremap(m, PAGE, PAGE, MREMAP_MAYMOVE | 4, NULL);
    SHOW(left != MAP_FAILED && left != m && left[0] == 3 && m[0] == 0);
    char *shared = MUST(mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    char *twin = MUST(mremap(shared, 0, 2 * PAGE, MREMAP_MAYMOVE));
    strcpy(shared, "twins");
    say("%s", twin);
    SHOW(twin[PAGE]);

    /* madvise over fork */
    char *f = MUST(mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    memset(f, 9, 4 * PAGE);
    SHOW(madvise(f, PAGE, MADV_DONTFORK));
    SHOW(madvise(f + PAGE, PAGE, MADV_WIPEONFORK));
    SHOW(madvise(shared, PAGE, MADV_WIPEONFORK));
    SHOW(madvise(f + 2 * PAGE, PAGE, MADV_DONTNEED));
    SHOW(madvise(shared, PAGE, MADV_FREE));
    SHOW(madvise(f, 64 * PAGE, MADV_HUGEPAGE) == 0 || errno == ENOMEM || errno == EINVAL);
    if (fork() == 0) {
        SHOW(mincore(f, PAGE, vec));
        say("%d %d %d", f[PAGE], f[2 * PAGE], f[3 * PAGE]);
        _exit(0);
    }
    wait(NULL);
    say("%d %d", f[0], f[PAGE]);
    SHOW(madvise(shared, PAGE, MADV_REMOVE));
    say("%d", shared[0]);

    /* locks and limits */
    struct rlimit l = {4 * PAGE, 4 * PAGE};
    if (geteuid() != 0) {
        SHOW(setrlimit(RLIMIT_MEMLOCK, &l));
        SHOW(mlock(f, 4 * PAGE));
        SHOW(mlock(m, PAGE));
        SHOW(munlock(f, 4 * PAGE));
    }
    SHOW(mlock2(f, PAGE, MLOCK_ONFAULT));
    SHOW(mlock2(f, PAGE, 8));
    SHOW(madvise(f, PAGE, MADV_DONTNEED));
    SHOW(msync(f, PAGE, MS_INVALIDATE));
    SHOW(mlockall(0));
    SHOW(munlockall());
    SHOW(mprotect(f, PAGE, 0x10));
    SHOW(mprotect(f, 0, 0x10));
    SHOW(syscall(SYS_pkey_mprotect, f, PAGE, PROT_READ, -1));

    /* another process */
    char buffer[32] = {0};
    strcpy(f + 3 * PAGE, "in the parent");
    if (fork() == 0) {
        struct iovec here = {buffer, 13}, there = {f + 3 * PAGE, 13};
        SHOW(process_vm_readv(getppid(), &here, 1, &there, 1, 0));
        say("%s", buffer);
        strcpy(buffer, "IN");
        here.iov_len = there.iov_len = 2;
        SHOW(process_vm_writev(getppid(), &here, 1, &there, 1, 0));
        there.iov_base = (void *)8;
        SHOW(process_vm_readv(getppid(), &here, 1, &there, 1, 0));
        SHOW(process_vm_readv(getppid(), &here, 1, &there, 1, 1));
        SHOW(process_vm_readv(99999, &here, 1, &there, 1, 0));
        struct iovec halves[] = {{f + 3 * PAGE, 2}, {(void *)8, 2}};
        here.iov_len = 4;
        SHOW(process_vm_readv(getppid(), &here, 1, halves, 2, 0));
        _exit(0);
    }
    wait(NULL);
    say("%s", f + 3 * PAGE);

    SHOW(getauxval(AT_PAGESZ));
    SHOW(getauxval(AT_SECURE));
    SHOW(getauxval(AT_CLKTCK));
    say("%s", (char *)getauxval(AT_PLATFORM));
    return 0;
}
