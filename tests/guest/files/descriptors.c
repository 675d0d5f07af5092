/* dup family, fcntl, close-on-exec, close_range, RLIMIT_NOFILE, sendfile, copy_file_range. */
#include "check.h"
#include <sys/sendfile.h>

int main(int argc, char **argv)
{
    if (argc > 1) {
        SHOW(fcntl(10, F_GETFD));
        SHOW(fcntl(11, F_GETFD));
        return 0;
    }
    put_file("f", "0123456789");
    int fd = MUST(open("f", O_RDONLY | O_CLOEXEC));
    SHOW(fcntl(fd, F_GETFD));
    SHOW(fcntl(fd, F_SETFD, 0));
    SHOW(fcntl(fd, F_GETFD));
    SHOW(dup2(fd, 10));
    SHOW(dup3(fd, 11, O_CLOEXEC));
    SHOW(dup3(fd, fd, 0));
    SHOW(dup3(fd, 12, 0x1234));
    SHOW(dup2(fd, fd));
    SHOW(dup2(99, 10));
    SHOW(dup2(fd, -1));
    SHOW(dup(-1));
    SHOW(fcntl(fd, F_DUPFD, 50));
    SHOW(fcntl(fd, F_DUPFD_CLOEXEC, 50));
    SHOW(fcntl(51, F_GETFD));
    SHOW(fcntl(fd, F_DUPFD, 1 << 30));
    char c;
    SHOW(read(10, &c, 1));
    SHOW(lseek(11, 0, SEEK_CUR));
    SHOW(fcntl(fd, F_GETFL) & O_ACCMODE);
    SHOW(fcntl(fd, F_SETFL, O_NONBLOCK | O_APPEND | O_RDWR));
    SHOW(fcntl(11, F_GETFL) & (O_NONBLOCK | O_APPEND | O_ACCMODE));
    SHOW(fcntl(fd, 9999));
    fflush(stdout);
    if (fork() == 0) {
        execl("/proc/self/exe", "self", "again", NULL);
        _exit(1);
    }
    wait(NULL);
    SHOW(syscall(SYS_close_range, 50, 60, 0));
    SHOW(fcntl(50, F_GETFD));
    SHOW(syscall(SYS_close_range, 10, 11, 4));
    SHOW(fcntl(10, F_GETFD));
    SHOW(syscall(SYS_close_range, 11, 10, 0));
    struct rlimit limit = {20, 20};
    SHOW(setrlimit(RLIMIT_NOFILE, &limit));
    SHOW(dup2(0, 20));
    SHOW(fcntl(0, F_DUPFD, 20));
    int n = 0;
    while (dup(0) >= 0)
        n++;
    say("out of descriptors: %s, there were some: %d", strerrorname_np(errno), n > 0);
    SHOW(syscall(SYS_close_range, 12, ~0u, 0));
    int in = MUST(open("f", O_RDONLY)), out = MUST(open("g", O_RDWR | O_CREAT, 0600));
    off_t offset = 2;
    SHOW(sendfile(out, in, &offset, 5));
    SHOW(offset);
    SHOW(lseek(in, 0, SEEK_CUR));
    SHOW(sendfile(out, in, NULL, 100));
    SHOW(sendfile(out, in, NULL, 100));
    show_file("g");
    off_t from = 0, to = 3;
    SHOW(copy_file_range(in, &from, out, &to, 4, 0));
    show_file("g");
    SHOW(copy_file_range(in, &from, in, &from, 4, 0));
    SHOW(copy_file_range(in, NULL, out, NULL, 4, 1));
    return 0;
}
