/* Wild pointers to many calls: EFAULT, never worse. */
#include "check.h"
#include <sys/epoll.h>
#include <sys/utsname.h>

static void *bad[] = {(void *)8, (void *)0xffff800000000000, (void *)-1, (void *)0x7fffffffe000, NULL};

int main(void)
{
    char *edge = MUST(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    MUST(munmap(edge + 4096, 4096));
    int p[2], fd = MUST(open("f", O_RDWR | O_CREAT, 0600));
    MUST(pipe(p));
    for (int i = 0; i < 3; i++) {
        say("pointer %d", i);
        SHOW(write(p[1], bad[i], 10));
        SHOW(read(p[0], bad[i], 0));
        SHOW(write(fd, bad[i], 10));
        SHOW(stat(bad[i], bad[i]));
        SHOW(stat("f", bad[i]));
        SHOW(syscall(SYS_uname, bad[i]));
        SHOW(syscall(SYS_clock_gettime, CLOCK_PROCESS_CPUTIME_ID, bad[i]));
        SHOW(syscall(SYS_nanosleep, bad[i], NULL));
        SHOW(syscall(SYS_poll, bad[i], 3, 0));
        SHOW(syscall(SYS_rt_sigaction, SIGUSR1, bad[i], NULL, 8));
        SHOW(syscall(SYS_rt_sigprocmask, SIG_BLOCK, bad[i], NULL, 8));
        SHOW(syscall(SYS_execve, "/bin/true", bad[i], NULL));
        SHOW(syscall(SYS_execve, bad[i], NULL, NULL));
        SHOW(syscall(SYS_pipe2, bad[i], 0));
        SHOW(syscall(SYS_getcwd, bad[i], 4096));
        SHOW(syscall(SYS_wait4, -1, NULL, WNOHANG, bad[i]));
        SHOW(syscall(SYS_epoll_ctl, MUST(epoll_create1(0)), EPOLL_CTL_ADD, p[0], bad[i]));
        SHOW(syscall(SYS_getrandom, bad[i], 10, 0));
        SHOW(syscall(SYS_readlink, "/proc/self/exe", bad[i], 10));
    }
    /* Half of it is there. */
    memcpy(edge + 4090, "abcdef", 6);
    SHOW(write(fd, edge + 4090, 20));
    SHOW(write(p[1], edge + 4090, 20));
    SHOW(pwrite(fd, "0123456789", 10, 0));
    SHOW(pread(fd, edge + 4092, 10, 0));
    say("%.4s", edge + 4092);
    strcpy(edge + 4093, "/x");
    SHOW(open(edge + 4093, O_RDONLY));
    memset(edge + 4000, 'a', 96);
    SHOW(open(edge + 4000, O_RDONLY));
    struct iovec v[2] = {{edge, 5}, {edge + 4090, 100}};
    SHOW(preadv(fd, v, 2, 0));
    return 0;
}
