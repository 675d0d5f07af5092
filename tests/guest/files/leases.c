/* File leases (fcntl(2), F_SETLEASE): who may have one, who must wait, and how the holder hears of it. */
#include "check.h"

static volatile sig_atomic_t signals, code, signal_fd;
static void on_signal(int n, siginfo_t *i, void *c)
{
    signals++;
    code = i->si_code;
    signal_fd = i->si_fd;
}

static int fresh(int flags)
{
    unlink("f");
    put_file("f", "content");
    return MUST(open("f", flags));
}

static void who_may(void)
{
    int fd = fresh(O_RDONLY);
    SHOW(fcntl(fd, F_GETLEASE));
    SHOW(fcntl(fd, F_SETLEASE, F_UNLCK));
    SHOW(fcntl(fd, F_SETLEASE, 9));
    SHOW(fcntl(fd, F_SETLEASE, F_RDLCK));
    SHOW(fcntl(fd, F_GETLEASE));
    SHOW(fcntl(fd, F_SETLEASE, F_WRLCK));
    SHOW(fcntl(fd, F_GETLEASE));
    SHOW(fcntl(fd, F_SETLEASE, F_RDLCK));
    int second = MUST(open("f", O_RDONLY));
    SHOW(fcntl(second, F_GETLEASE));
    SHOW(fcntl(second, F_SETLEASE, F_RDLCK));
    SHOW(fcntl(fd, F_SETLEASE, F_WRLCK));
    SHOW(fcntl(second, F_SETLEASE, F_UNLCK));
    SHOW(fcntl(fd, F_SETLEASE, F_WRLCK));
    close(second);
    SHOW(fcntl(fd, F_SETLEASE, F_WRLCK));
    SHOW(fcntl(fd, F_SETLEASE, F_UNLCK));
    SHOW(fcntl(fd, F_GETLEASE));
    close(fd);
    fd = fresh(O_RDWR);
    SHOW(fcntl(fd, F_SETLEASE, F_RDLCK));
    SHOW(fcntl(fd, F_SETLEASE, F_WRLCK));
    int copy = dup(fd);
    SHOW(fcntl(copy, F_GETLEASE));
    SHOW(fcntl(copy, F_SETLEASE, F_UNLCK));
    SHOW(fcntl(fd, F_GETLEASE));
    close(copy);
    second = MUST(open("f", O_RDONLY));
    SHOW(fcntl(fd, F_SETLEASE, F_WRLCK));
    SHOW(fcntl(second, F_SETLEASE, F_RDLCK));
    close(second);
    close(fd);
    fd = fresh(O_WRONLY);
    SHOW(fcntl(fd, F_SETLEASE, F_RDLCK));
    SHOW(fcntl(fd, F_SETLEASE, F_WRLCK));
    close(fd);
    int dir = MUST(open(".", O_RDONLY));
    SHOW(fcntl(dir, F_SETLEASE, F_WRLCK));
    int p[2];
    MUST(pipe(p));
    SHOW(fcntl(p[0], F_SETLEASE, F_RDLCK));
    int path = MUST(open("f", O_PATH));
    SHOW(fcntl(path, F_SETLEASE, F_RDLCK));
    SHOW(fcntl(path, F_GETLEASE));
}

static void nonblocking(void)
{
    int fd = fresh(O_RDONLY);
    MUST(fcntl(fd, F_SETLEASE, F_RDLCK));
    signals = 0;
    SHOW(close(open("f", O_RDONLY | O_NONBLOCK)));
    say("signals %d", signals);
    SHOW(open("f", O_WRONLY | O_NONBLOCK));
    say("signals %d code %d fd %d", signals, code, signal_fd == fd);
    SHOW(open("f", O_WRONLY | O_NONBLOCK));
    say("signals %d", signals);
    SHOW(fcntl(fd, F_GETLEASE));
    SHOW(open("f", O_RDONLY | O_NONBLOCK | O_TRUNC));
    struct stat s;
    MUST(fstat(fd, &s));
    say("size %ld", (long)s.st_size);
    int other = MUST(open("f", O_RDONLY));
    SHOW(fcntl(other, F_SETLEASE, F_RDLCK));
    SHOW(fcntl(fd, F_SETLEASE, F_UNLCK));
    SHOW(close(open("f", O_WRONLY | O_NONBLOCK)));
    close(other);
    close(fd);
    fd = fresh(O_RDWR);
    MUST(fcntl(fd, F_SETLEASE, F_WRLCK));
    MUST(fcntl(fd, F_SETSIG, SIGRTMIN));
    signals = 0;
    SHOW(open("f", O_RDONLY | O_NONBLOCK));
    say("signals %d code %d fd %d", signals, code, signal_fd == fd);
    SHOW(fcntl(fd, F_GETLEASE));
    SHOW(fcntl(fd, F_SETLEASE, F_RDLCK));
    close(fd);
    fd = fresh(O_RDONLY);
    MUST(fcntl(fd, F_SETLEASE, F_WRLCK));
    SHOW(open("f", O_RDONLY | O_NONBLOCK));
    SHOW(fcntl(fd, F_SETLEASE, F_RDLCK));
    SHOW(fcntl(fd, F_GETLEASE));
    SHOW(close(open("f", O_RDONLY | O_NONBLOCK)));
    SHOW(open("f", O_CREAT | O_EXCL | O_RDWR, 0600));
    SHOW(rename("f", "g"));
    SHOW(chmod("g", 0600));
    SHOW(link("g", "f"));
    SHOW(unlink("g"));
    say("signals %d", signals);
    close(fd);
    SHOW(close(open("f", O_WRONLY | O_NONBLOCK)));
}

/* The child opens in `flags`, or truncates with -1; the parent answers with `answer` after a while. */
static void waits(const char *what, int mode, int kind, int flags, int answer)
{
    int fd = fresh(mode);
    MUST(fcntl(fd, F_SETLEASE, kind));
    signals = 0;
    pid_t child = MUST(fork());
    if (child == 0) {
        close(fd);
        long begin = now_ms();
        int r = flags == -1 ? truncate("f", 3) : open("f", flags);
        say("%s: %s after a while %d", what, r < 0 ? strerrorname_np(errno) : "works", now_ms() - begin >= 80);
        struct stat s;
        MUST(stat("f", &s));
        say("size %ld", (long)s.st_size);
        _exit(0);
    }
    while (signals == 0)
        pause_ms(5);
    pause_ms(100);
    say("lease %d", fcntl(fd, F_GETLEASE));
    int answered = answer == -1 ? close(fd) : fcntl(fd, F_SETLEASE, answer);
    MUST(waitpid(child, NULL, 0));
    say("answered %d", answered);
    if (answer != -1) {
        say("lease %d", fcntl(fd, F_GETLEASE));
        close(fd);
    }
}

static void on_alarm(int n) {}

int main(void)
{
    struct sigaction a = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    sigaction(SIGIO, &a, NULL);
    sigaction(SIGRTMIN, &a, NULL);
    who_may();
    nonblocking();
    waits("read a write lease, given up", O_RDWR, F_WRLCK, O_RDONLY, F_UNLCK);
    waits("read a write lease, made less", O_RDONLY, F_WRLCK, O_RDONLY, F_RDLCK);
    waits("write a write lease", O_RDWR, F_WRLCK, O_WRONLY, F_UNLCK);
    waits("write a read lease", O_RDONLY, F_RDLCK, O_RDWR, F_UNLCK);
    waits("truncating open of a read lease", O_RDONLY, F_RDLCK, O_WRONLY | O_TRUNC, F_UNLCK);
    waits("truncate", O_RDONLY, F_RDLCK, -1, F_UNLCK);
    waits("closed", O_RDONLY, F_RDLCK, O_WRONLY, -1);
    /* A signal ends the wait. */
    int fd = fresh(O_RDONLY);
    MUST(fcntl(fd, F_SETLEASE, F_RDLCK));
    signal(SIGIO, SIG_IGN);
    pid_t child = MUST(fork());
    if (child == 0) {
        struct sigaction b = {.sa_handler = on_alarm};
        sigaction(SIGALRM, &b, NULL);
        struct itimerval t = {.it_value.tv_usec = 50000};
        setitimer(ITIMER_REAL, &t, NULL);
        SHOW(open("f", O_WRONLY));
        _exit(0);
    }
    MUST(waitpid(child, NULL, 0));
    SHOW(fcntl(fd, F_GETLEASE));
    return 0;
}
