/* clone3: what it refuses. pidfds: ioctls, waitid. */
#include "check.h"
#include <linux/sched.h>

#define TRY(...)                                                                       \
    do {                                                                               \
        struct clone_args args_ = {__VA_ARGS__};                                       \
        errno = 0;                                                                     \
        long pid_ = syscall(SYS_clone3, &args_, sizeof args_);                         \
        if (pid_ == 0)                                                                 \
            _exit(0);                                                                  \
        say("%s: %s", #__VA_ARGS__, pid_ < 0 ? strerrorname_np(errno) : "works");      \
        if (pid_ > 0)                                                                  \
            waitpid(pid_, NULL, __WALL);                                               \
    } while (0)

#define NAMESPACE(n) _IO(0xff, n)
#define INFO(size) _IOC(_IOC_READ | _IOC_WRITE, 0xff, 11, size)

static void arguments(void)
{
    int fd, number = 0;
    TRY(.exit_signal = SIGCHLD);
    TRY(.flags = CLONE_DETACHED);
    TRY(.flags = SIGCHLD);
    TRY(.exit_signal = 65);
    TRY(.exit_signal = 1ul << 32);
    TRY(.flags = 1ul << 40, .exit_signal = SIGCHLD);
    TRY(.flags = CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD);
    TRY(.flags = CLONE_CLEAR_SIGHAND | CLONE_SIGHAND | CLONE_VM);
    TRY(.flags = CLONE_THREAD | CLONE_SIGHAND | CLONE_VM, .exit_signal = SIGCHLD);
    TRY(.flags = CLONE_PARENT, .exit_signal = SIGCHLD);
    TRY(.stack = 1, .exit_signal = SIGCHLD);
    TRY(.stack_size = 1, .exit_signal = SIGCHLD);
    TRY(.stack = 0x1000, .stack_size = -1, .exit_signal = SIGCHLD);
    TRY(.stack = 0x1000, .stack_size = 1ul << 62, .exit_signal = SIGCHLD);
    TRY(.flags = CLONE_INTO_CGROUP, .cgroup = 999, .exit_signal = SIGCHLD);
    TRY(.flags = CLONE_INTO_CGROUP, .cgroup = 1ul << 32, .exit_signal = SIGCHLD);
    TRY(.flags = CLONE_PIDFD, .pidfd = (uintptr_t)&fd, .exit_signal = SIGCHLD);
    TRY(.flags = CLONE_PIDFD, .pidfd = 8, .exit_signal = SIGCHLD);
    TRY(.flags = CLONE_PIDFD | CLONE_PARENT_SETTID, .pidfd = (uintptr_t)&fd,
        .parent_tid = (uintptr_t)&fd, .exit_signal = SIGCHLD);
    TRY(.set_tid = (uintptr_t)&number, .set_tid_size = 1, .exit_signal = SIGCHLD);
    TRY(.set_tid = (uintptr_t)&number, .set_tid_size = 33, .exit_signal = SIGCHLD);
    TRY(.set_tid = 0, .set_tid_size = 1, .exit_signal = SIGCHLD);
    TRY(.set_tid = (uintptr_t)&number, .set_tid_size = 0, .exit_signal = SIGCHLD);
    TRY(.set_tid = 8, .set_tid_size = 1, .exit_signal = SIGCHLD);
    number = -1;
    TRY(.set_tid = (uintptr_t)&number, .set_tid_size = 1, .exit_signal = SIGCHLD);
    number = 1;
    TRY(.set_tid = (uintptr_t)&number, .set_tid_size = 1, .exit_signal = SIGCHLD);
    struct clone_args args = {.exit_signal = SIGCHLD};
    SHOW(syscall(SYS_clone3, &args, 63));
    SHOW(syscall(SYS_clone3, &args, 5000));
    SHOW(syscall(SYS_clone3, 8, 64));
}

static void pidfds(void)
{
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    int fd = MUST(syscall(SYS_pidfd_open, child, 0));
    for (int i = 1; i <= 10; i++) {
        errno = 0;
        int ns = ioctl(fd, NAMESPACE(i), 0);
        say("namespace %d: %s", i, ns >= 0 ? "works" : strerrorname_np(errno));
        if (ns >= 0) {
            static const char *const names[] = {"cgroup", "ipc", "mnt", "net", "pid", "pid_for_children",
                                                "time", "time_for_children", "user", "uts"};
            char path[64];
            struct stat a, b;
            snprintf(path, sizeof path, "/proc/self/ns/%s", names[i - 1]);
            fstat(ns, &a);
            stat(path, &b);
            say("ours: %d, kept over execve: %d", a.st_ino == b.st_ino, !(fcntl(ns, F_GETFD) & FD_CLOEXEC));
            close(ns);
        }
    }
    SHOW(ioctl(fd, NAMESPACE(1), 1));
    SHOW(ioctl(fd, TCGETS, 0));
    uint64_t info[16] = {3};
    uint32_t *words = (uint32_t *)info;
    SHOW(ioctl(fd, INFO(64), info));
    say("%d: pid %d, group %d, parent %d, user %d", (int)(info[0] & 3), words[4] == (uint32_t)child,
        words[5] == (uint32_t)child, words[6] == (uint32_t)getpid(), words[7] == getuid());
    SHOW(ioctl(fd, INFO(64), NULL));
    siginfo_t found;
    SHOW(waitid(P_PIDFD, 0, &found, WEXITED));
    SHOW(waitid(P_PIDFD, -1, &found, WEXITED));
    SHOW(waitid(P_PIDFD, fd, &found, WEXITED | WNOHANG));
    kill(child, SIGKILL);
    SHOW(waitid(P_PIDFD, fd, &found, WEXITED | WNOWAIT));
    SHOW(ioctl(fd, NAMESPACE(4), 0));
    info[0] = 3;
    SHOW(ioctl(fd, INFO(64), info));
    SHOW(waitid(P_PIDFD, fd, &found, WEXITED));
    SHOW(waitid(P_PIDFD, fd, &found, WEXITED));
    info[0] = 3;
    SHOW(ioctl(fd, INFO(64), info));
    info[0] = 8;
    SHOW(ioctl(fd, INFO(64), info));
    say("ended: %d %d", (int)(info[0] & 8), words[15]);
}

int main(void)
{
    arguments();
    pidfds();
    return 0;
}
