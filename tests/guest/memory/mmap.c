/* mmap in its forms, mprotect, munmap holes, mremap, madvise, brk, shared mappings over fork and files. */
#include "check.h"

#define PAGE 4096

int main(void)
{
    char *a = MUST(mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    memset(a, 7, 4 * PAGE);
    SHOW(munmap(a + PAGE, PAGE));
    SHOW(msync(a, 4 * PAGE, MS_ASYNC));
    SHOW(mmap(a + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == a + PAGE);
    SHOW(mmap(a + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED ? errno == EEXIST : 0);
    SHOW(a[PAGE]);
    SHOW(mmap(a, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == a);
    SHOW(a[0]);
    SHOW(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno == EINVAL : 0);
    SHOW(mmap(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno == EINVAL : 0);
    SHOW(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, -1, 0) == MAP_FAILED ? errno == EBADF : 0);
    SHOW(mmap((void *)1, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED ? errno == EINVAL : 0);
    SHOW(mmap(NULL, 1UL << 60, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno == ENOMEM : 0);
    SHOW(munmap(a, 0));
    SHOW(munmap(a + 1, PAGE));
    SHOW(munmap((void *)(1UL << 62), PAGE));
    SHOW(mprotect(a, 4 * PAGE, PROT_NONE));
    SHOW(mprotect(a + 1, PAGE, PROT_READ));
    SHOW(munmap(a + 2 * PAGE, PAGE));
    SHOW(mprotect(a, 4 * PAGE, PROT_READ | PROT_WRITE));
    SHOW(write(1, a + 2 * PAGE, 1));
    char *b = MUST(mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    strcpy(b, "moves along");
    char *c = MUST(mremap(b, 2 * PAGE, 100 * PAGE, MREMAP_MAYMOVE));
    say("%s", c);
    SHOW(mremap(c, 100 * PAGE, PAGE, 0) == c);
    char *d = MUST(mmap(NULL, 8 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    SHOW(mremap(c, PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, d + PAGE) == d + PAGE);
    say("%s", d + PAGE);
    SHOW(mremap(d + PAGE, PAGE, PAGE, MREMAP_FIXED, d) == MAP_FAILED ? errno == EINVAL : 0);
    SHOW(mremap((void *)4096, PAGE, PAGE, 0) == MAP_FAILED ? errno == EFAULT : 0);
    SHOW(madvise(d + PAGE, PAGE, MADV_DONTNEED));
    SHOW(d[PAGE]);
    SHOW(madvise(d, PAGE, 9999));
    SHOW(madvise(d + 1, PAGE, MADV_DONTNEED));

    int fd = MUST(open("f", O_RDWR | O_CREAT, 0600));
    MUST(ftruncate(fd, 2 * PAGE));
    char *s = MUST(mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    char *p = MUST(mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
    strcpy(s, "shared");
    char buffer[16] = {0};
    SHOW(pread(fd, buffer, 6, 0));
    say("%s %s", buffer, p);
    strcpy(p, "private");
    say("%s", s);
    MUST(pwrite(fd, "written", 7, 100));
    say("%.7s", s + 100);
    SHOW(msync(s, PAGE, MS_SYNC));
    SHOW(msync(s, PAGE, MS_SYNC | MS_ASYNC));
    SHOW(close(fd));
    strcpy(s + PAGE, "after close");
    fflush(stdout);
    if (fork() == 0) {
        say("child sees %s, %s, %s", s, p, s + PAGE);
        strcpy(s, "by child");
        strcpy(p, "by child");
        _exit(0);
    }
    wait(NULL);
    say("parent sees %s, %s", s, p);
    int ro = MUST(open("f", O_RDONLY)), wo = MUST(open("f", O_WRONLY));
    SHOW(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, ro, 0) == MAP_FAILED ? errno == EACCES : 0);
    SHOW(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, wo, 0) == MAP_FAILED ? errno == EACCES : 0);
    SHOW(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, ro, 5) == MAP_FAILED ? errno == EINVAL : 0);
    char *r = MUST(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, ro, 0));
    SHOW(mprotect(r, PAGE, PROT_READ | PROT_WRITE));
    int pipes[2];
    MUST(pipe(pipes));
    SHOW(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, pipes[0], 0) == MAP_FAILED ? errno == ENODEV : 0);

    char *anonymous = MUST(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    if (fork() == 0) {
        strcpy(anonymous, "from the child");
        _exit(0);
    }
    wait(NULL);
    say("%s", anonymous);
    int memfd = MUST(memfd_create("m", MFD_ALLOW_SEALING));
    SHOW(ftruncate(memfd, PAGE));
    char *m = MUST(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0));
    SHOW(fcntl(memfd, F_ADD_SEALS, F_SEAL_WRITE));
    MUST(munmap(m, PAGE));
    SHOW(fcntl(memfd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK));
    SHOW(write(memfd, "x", 1));
    SHOW(ftruncate(memfd, 0));
    SHOW(fcntl(memfd, F_GET_SEALS));
    SHOW(memfd_create("x", 0x8000));
    char *top = sbrk(0);
    SHOW(sbrk(10 * PAGE) == top);
    memset(top, 1, 10 * PAGE);
    SHOW(brk(top));
    unsigned char resident[4];
    SHOW(mincore(s, 2 * PAGE, resident));
    SHOW(mincore(s + 1, PAGE, resident));
    SHOW(mlock(s, PAGE));
    SHOW(munlock(s, PAGE));
    /* A wish counts with MAP_32BIT, too, also below where the kernel looks itself, but not above 2 GiB. */
    char *low = (char *)0x50000000, *lower = (char *)0x30000000, *last = (char *)0x7ffff000;
    int anywhere = MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT;
    SHOW(mmap(low + 1, PAGE, PROT_READ, anywhere, -1, 0) == low);
    SHOW(mmap(lower, PAGE, PROT_READ, anywhere, -1, 0) == lower);
    SHOW(mmap(last, PAGE, PROT_READ, anywhere, -1, 0) == last);
    char *taken = MUST(mmap(low, PAGE, PROT_READ, anywhere, -1, 0));
    SHOW(taken != low && taken >= (char *)0x40000000 && taken < last);
    char *beyond = MUST(mmap(last, 2 * PAGE, PROT_READ, anywhere, -1, 0));
    SHOW(beyond >= (char *)0x40000000 && beyond < last);
    SHOW(mmap(low, 1UL << 31, PROT_NONE, anywhere | MAP_NORESERVE, -1, 0) == MAP_FAILED ? errno == ENOMEM : 0);
    SHOW(mmap(NULL, (1UL << 31) + PAGE, PROT_NONE, anywhere | MAP_NORESERVE, -1, 0) == MAP_FAILED ? errno == ENOMEM : 0);
    SHOW(mmap((void *)1, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) > (void *)(1UL << 40));
    struct rlimit l = {64 << 20, 64 << 20};
    SHOW(setrlimit(RLIMIT_AS, &l));
    SHOW(mmap(NULL, 128 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno == ENOMEM : 0);
    return 0;
}
