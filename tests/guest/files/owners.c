/* Owners of a file (F_SETOWN and its kin), alive, dead and reaped. */
#include "../check.h"

static void owner(const char *when, int fd, pid_t child)
{
    struct f_owner_ex ex = {-1, -1};
    long pid = fcntl(fd, F_GETOWN);
    int got = fcntl(fd, F_GETOWN_EX, &ex);
    printf("%s: %s, %d: type %d, %s\n", when, pid == child ? "the child" : pid == -child ? "its group" : pid == 0 ? "nobody" : "?", got,
           ex.type, ex.pid == child ? "the child" : ex.pid == 0 ? "nobody" : "?");
    fflush(stdout);
}

int main(void)
{
    int fds[2], wait[2];
    MUST(pipe(fds));
    MUST(pipe(wait));
    owner("at first", fds[0], -2);
    SHOW(fcntl(fds[0], F_SETOWN, 0x3fffffff));
    SHOW(fcntl(fds[0], F_SETOWN, -0x3fffffff));
    pid_t child = MUST(fork());
    if (child == 0) {
        char c;
        MUST(setpgid(0, 0));
        close(wait[1]);
        (void)!read(wait[0], &c, 1);
        _exit(0);
    }
    setpgid(child, child);
    SHOW(fcntl(fds[0], F_SETOWN, child));
    SHOW(fcntl(fds[1], F_SETOWN, -child));
    owner("alive", fds[0], child);
    owner("alive", fds[1], child);
    close(wait[1]);
    siginfo_t info;
    MUST(waitid(P_PID, child, &info, WEXITED | WNOWAIT));
    owner("a zombie", fds[0], child);
    owner("a zombie", fds[1], child);
    MUST(waitpid(child, NULL, 0));
    owner("reaped", fds[0], child);
    owner("reaped", fds[1], child);
    WORKS(fcntl(fds[0], F_SETOWN, child));
    SHOW(fcntl(fds[0], F_SETOWN, 0));
    owner("taken back", fds[0], child);
    return 0;
}
