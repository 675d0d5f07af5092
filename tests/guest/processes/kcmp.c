/* kcmp(2): what two processes share. */
#include "check.h"
#include <linux/kcmp.h>

static long compare(pid_t a, pid_t b, int type, long x, long y)
{
    long r = syscall(SYS_kcmp, a, b, type, x, y);
    return r > 0 ? 1 : r; /* less or greater: depends on addresses */
}

int main(void)
{
    pid_t me = getpid();
    int fd = MUST(open("/dev/null", O_RDONLY)), same = MUST(dup(fd)), other = MUST(open("/dev/null", O_RDONLY));
    pid_t child = MUST(fork());
    if (child == 0) {
        pause();
        _exit(0);
    }
    SHOW(compare(me, me, KCMP_FILE, fd, same));
    SHOW(compare(me, me, KCMP_FILE, fd, other));
    SHOW(compare(me, child, KCMP_FILE, fd, same));
    SHOW(compare(me, me, KCMP_FILE, fd, 999));
    static const int types[] = {KCMP_VM, KCMP_FILES, KCMP_FS, KCMP_SIGHAND, KCMP_IO, KCMP_SYSVSEM};
    for (int i = 0; i < 6; i++) {
        SHOW(compare(me, me, types[i], 0, 0));
        if (types[i] != KCMP_IO && types[i] != KCMP_SYSVSEM)
            SHOW(compare(me, child, types[i], 0, 0));
    }
    SHOW(compare(me, 999999, KCMP_VM, 0, 0));
    SHOW(compare(me, me, 99, 0, 0));
    kill(child, SIGKILL);
    MUST(wait(NULL));
    return 0;
}
