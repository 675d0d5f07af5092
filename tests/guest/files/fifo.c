/* FIFOs: who waits for whom. */
#include "check.h"

static void reader(void)
{
    char b[16] = {0};
    int fd = MUST(open("p", O_RDONLY));
    int n = MUST(read(fd, b, sizeof b - 1));
    say("reader got %d: %s", n, b);
    SHOW(read(fd, b, 1));
}

static void handler(int s)
{
    (void)s;
}

int main(void)
{
    MUST(mkfifo("p", 0644));
    SHOW(open("p", O_WRONLY | O_NONBLOCK));
    int r = MUST(open("p", O_RDONLY | O_NONBLOCK));
    char c;
    SHOW(read(r, &c, 1));
    int w = MUST(open("p", O_WRONLY | O_NONBLOCK));
    SHOW(read(r, &c, 1));
    SHOW(write(w, "x", 1));
    SHOW(read(r, &c, 1));
    MUST(close(r));
    signal(SIGPIPE, SIG_IGN);
    SHOW(write(w, "x", 1));
    MUST(close(w));
    pid_t pid = fork();
    if (pid == 0) {
        reader();
        _exit(0);
    }
    w = MUST(open("p", O_WRONLY));
    MUST(write(w, "hello", 5));
    MUST(close(w));
    MUST(waitpid(pid, NULL, 0));
    /* An open that waits is interrupted. */
    struct sigaction sa = {.sa_handler = handler};
    sigaction(SIGALRM, &sa, NULL);
    struct itimerval t = {.it_value = {0, 50000}};
    setitimer(ITIMER_REAL, &t, NULL);
    SHOW(open("p", O_RDONLY));
    setitimer(ITIMER_REAL, &t, NULL);
    SHOW(open("p", O_WRONLY));
    int rw = MUST(open("p", O_RDWR));
    SHOW(write(rw, "self", 4));
    char b[8];
    SHOW(read(rw, b, 8));
    struct stat s;
    MUST(fstat(rw, &s));
    say("mode %o", s.st_mode);
    SHOW(lseek(rw, 0, SEEK_SET));
    SHOW(pread(rw, b, 1, 0));
    SHOW(ftruncate(rw, 0));
    SHOW(truncate("p", 0));
    return 0;
}
