/* FIFOs: opening waits for the other side; O_NONBLOCK does not. */
#include "check.h"

int main(void)
{
    char buffer[16] = {0};
    SHOW(mkfifo("fifo", 0600));
    SHOW(mkfifo("fifo", 0600));
    SHOW(open("fifo", O_WRONLY | O_NONBLOCK));
    int r = MUST(open("fifo", O_RDONLY | O_NONBLOCK));
    SHOW(read(r, buffer, 1));
    int w = MUST(open("fifo", O_WRONLY | O_NONBLOCK));
    SHOW(read(r, buffer, 1));
    SHOW(write(w, "abc", 3));
    SHOW(read(r, buffer, 16));
    close(r);
    close(w);
    pid_t child = MUST(fork());
    if (child == 0) {
        int fd = MUST(open("fifo", O_WRONLY));
        MUST(write(fd, "from the child", 14));
        _exit(0);
    }
    r = MUST(open("fifo", O_RDONLY));
    SHOW(read(r, buffer, 14));
    say("%.14s", buffer);
    SHOW(read(r, buffer, 14));
    MUST(waitpid(child, NULL, 0));
    close(r);
    int both = MUST(open("fifo", O_RDWR));
    SHOW(write(both, "x", 1));
    SHOW(read(both, buffer, 5));
    SHOW(unlink("fifo"));
    SHOW(write(both, "y", 1));
    SHOW(read(both, buffer, 5));
    return 0;
}
