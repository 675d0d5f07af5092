/* pidfd_open, pidfd_send_signal, pidfd_getfd, waiting on them. */
#include "check.h"

static int pidfd_open_(pid_t pid, unsigned flags)
{
    return syscall(SYS_pidfd_open, pid, flags);
}
static int send_(int fd, int signal, siginfo_t *info, unsigned flags)
{
    return syscall(SYS_pidfd_send_signal, fd, signal, info, flags);
}

int main(void)
{
    int p[2], status;
    char text[6] = {0};
    MUST(pipe(p));
    pid_t child = MUST(fork());
    if (child == 0) {
        dup2(p[1], 77);
        MUST(write(p[1], "r", 1));
        for (;;)
            pause();
    }
    MUST(read(p[0], text, 1));
    SHOW(pidfd_open_(child, 0x12));
    SHOW(pidfd_open_(0, 0));
    SHOW(pidfd_open_(-1, 0));
    SHOW(pidfd_open_(1 << 21, 0));
    int fd = MUST(pidfd_open_(child, 0));
    SHOW(fcntl(fd, F_GETFD));
    struct pollfd f = {fd, POLLIN, 0};
    SHOW(poll(&f, 1, 20));
    SHOW(send_(fd, 0, NULL, 0));
    SHOW(send_(fd, 65, NULL, 0));
    SHOW(send_(fd, 0, NULL, 0x80));
    SHOW(send_(p[0], SIGTERM, NULL, 0));
    SHOW(send_(99, SIGTERM, NULL, 0));
    siginfo_t info = {.si_signo = SIGUSR1, .si_code = SI_USER};
    SHOW(send_(fd, SIGTERM, &info, 0));
    SHOW(send_(fd, SIGUSR1, &info, 0));
    char c;
    SHOW(read(fd, &c, 1));
    int copy = syscall(SYS_pidfd_getfd, fd, 77, 0);
    SHOW(copy >= 0);
    SHOW(fcntl(copy, F_GETFD));
    MUST(write(copy, "shared", 5));
    SHOW(read(p[0], text, 5));
    say("%s", text);
    SHOW(syscall(SYS_pidfd_getfd, fd, 78, 0));
    SHOW(syscall(SYS_pidfd_getfd, fd, 77, 1));
    char name[32];
    sprintf(name, "/proc/%d", child);
    int dir = MUST(open(name, O_RDONLY | O_DIRECTORY));
    SHOW(send_(dir, 0, NULL, 0));
    SHOW(pidfd_open_(gettid(), O_EXCL) >= 0);
    SHOW(send_(fd, SIGTERM, NULL, 0));
    SHOW(poll(&f, 1, 5000));
    SHOW(f.revents);
    SHOW(send_(fd, SIGTERM, NULL, 0));
    SHOW(waitid(P_PIDFD, fd, &info, WEXITED));
    say("code %d status %d", info.si_code, info.si_status);
    SHOW(send_(fd, SIGTERM, NULL, 0));
    SHOW(send_(dir, SIGTERM, NULL, 0));
    SHOW(poll(&f, 1, 0));
    SHOW(waitid(P_PIDFD, fd, &info, WEXITED));
    int own = MUST(pidfd_open_(getpid(), O_NONBLOCK));
    SHOW(waitid(P_PIDFD, own, &info, WEXITED));
    (void)status;
    return 0;
}
