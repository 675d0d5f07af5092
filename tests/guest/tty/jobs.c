/* Job control: who may read, write and change a terminal from the background; who is told when a session ends. */
#include "check.h"
#include <pty.h>
#include <termios.h>

static int master, slave;

static void ignore_hangup(int n) { (void)n; }

/* A session leader with the slave as its terminal. */
static pid_t leader(void)
{
    fflush(stdout);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        close(master);
        MUST(setsid());
        MUST(ioctl(slave, TIOCSCTTY, 0));
    }
    return pid;
}

static void reap(const char *who, pid_t pid, int options)
{
    int status;
    MUST(waitpid(pid, &status, options));
    show_status(who, status);
}

static void background(void)
{
    pid_t job = MUST(fork());
    if (job == 0) {
        setpgid(0, 0);
        char line[10] = "";
        SHOW(write(slave, "free\n", 5));
        ssize_t n = read(slave, line, sizeof line);
        say("read after the stop: %zd %.*s", n, (int)n - 1, line);
        struct termios t;
        MUST(tcgetattr(slave, &t));
        t.c_lflag |= TOSTOP;
        MUST(tcsetattr(slave, TCSANOW, &t));
        _exit(0);
    }
    setpgid(job, job);
    reap("reader", job, WUNTRACED);
    MUST(tcsetpgrp(slave, job));
    kill(job, SIGCONT);
    reap("reader in the foreground", job, 0);
    /* Its group is gone, and still the foreground: the leader is in the background now. */
    SHOW(signal(SIGTTOU, SIG_IGN) == SIG_DFL);
    SHOW(tcsetpgrp(slave, getpgrp()));
    signal(SIGTTOU, SIG_DFL);

    job = MUST(fork());
    if (job == 0) {
        setpgid(0, 0);
        SHOW(write(slave, "stopped\n", 8));
        struct termios t;
        MUST(tcgetattr(slave, &t));
        t.c_lflag &= ~TOSTOP;
        SHOW(tcsetattr(slave, TCSANOW, &t));
        _exit(0);
    }
    setpgid(job, job);
    reap("writer with TOSTOP", job, WUNTRACED);
    MUST(tcsetpgrp(slave, job));
    kill(job, SIGCONT);
    reap("writer in the foreground", job, 0);
    signal(SIGTTOU, SIG_IGN);
    MUST(tcsetpgrp(slave, getpgrp()));
    signal(SIGTTOU, SIG_DFL);

    job = MUST(fork());
    if (job == 0) {
        setpgid(0, 0);
        char c;
        struct termios t;
        MUST(tcgetattr(slave, &t));
        signal(SIGTTIN, SIG_IGN);
        SHOW(read(slave, &c, 1));
        signal(SIGTTIN, SIG_DFL);
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGTTIN);
        sigprocmask(SIG_BLOCK, &set, NULL);
        SHOW(read(slave, &c, 1));
        signal(SIGTTOU, SIG_IGN);
        SHOW(tcsetattr(slave, TCSANOW, &t));
        SHOW(tcsetpgrp(slave, getppid()));
        signal(SIGTTOU, SIG_DFL);
        SHOW(fcntl(slave, F_SETFL, O_NONBLOCK));
        sigprocmask(SIG_UNBLOCK, &set, NULL);
        SHOW(tcsetpgrp(slave, getpid()));
        _exit(0);
    }
    setpgid(job, job);
    reap("who ignores, then not", job, WUNTRACED);
    kill(job, SIGKILL);
    reap("killed", job, 0);
    fcntl(slave, F_SETFL, 0);
}

static void orphan(void)
{
    int p[2];
    MUST(pipe(p));
    pid_t middle = MUST(fork());
    if (middle == 0) {
        setpgid(0, 0);
        if (MUST(fork()) == 0) {
            /* The parent ends; this group has no one who could continue it. */
            while (getppid() == getpgrp())
                pause_ms(5);
            char c;
            errno = 0;
            ssize_t n = read(slave, &c, 1);
            say("orphan reads: %zd %s", n, strerrorname_np(errno));
            _exit(0);
        }
        _exit(0);
    }
    close(p[1]);
    MUST(waitpid(middle, NULL, 0));
    char c;
    MUST(read(p[0], &c, 1));
    close(p[0]);
}

static void end_of_session(void)
{
    pid_t pid = leader();
    if (pid == 0) {
        signal(SIGTTOU, SIG_IGN);
        int p[2];
        MUST(pipe(p));
        pid_t job = MUST(fork());
        if (job == 0) {
            setpgid(0, 0);
            MUST(tcsetpgrp(slave, getpid()));
            sigset_t set;
            sigemptyset(&set);
            sigaddset(&set, SIGHUP);
            sigaddset(&set, SIGCONT);
            sigprocmask(SIG_BLOCK, &set, NULL);
            MUST(write(p[1], "x", 1));
            int got = sigwaitinfo(&set, NULL);
            pause_ms(200);
            say("foreground job: %s", sigabbrev_np(got));
            SHOW(open("/dev/tty", O_RDWR));
            SHOW(tcgetpgrp(slave));
            SHOW(write(slave, "still here\n", 11));
            _exit(0);
        }
        char c;
        MUST(read(p[0], &c, 1));
        _exit(3);
    }
    reap("leader", pid, 0);
    char text[100];
    ssize_t n = read(master, text, sizeof text);
    pause_ms(100);
    say("%.*s", (int)n - 2, text);
    pause_ms(50);
    pid_t session;
    SHOW(ioctl(master, TIOCGSID, &session));
}

static void hang_up(void)
{
    int p[2];
    MUST(pipe(p));
    pid_t pid = leader();
    if (pid == 0) {
        close(p[0]);
        struct sigaction sa = {.sa_handler = ignore_hangup, .sa_flags = SA_RESTART};
        sigaction(SIGHUP, &sa, NULL);
        MUST(write(p[1], "x", 1));
        char c;
        /* Waiting when the other end goes away, and after. */
        ssize_t n = read(slave, &c, 1);
        int e = errno;
        int known = n == 0 || (n < 0 && e == EIO);
        say("hung up while reading: %d", known);
        SHOW(read(slave, &c, 1));
        SHOW(write(slave, &c, 1));
        struct pollfd f = {slave, POLLIN | POLLOUT, 0};
        SHOW(poll(&f, 1, 1000));
        say("events %#x", f.revents);
        struct termios t;
        SHOW(tcgetattr(slave, &t));
        SHOW(tcsetpgrp(slave, getpgrp()));
        SHOW(open("/dev/tty", O_RDWR));
        _exit(0);
    }
    close(slave);
    close(p[1]);
    char c;
    MUST(read(p[0], &c, 1));
    pause_ms(50);
    close(master);
    reap("leader", pid, 0);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    MUST(openpty(&master, &slave, NULL, NULL, NULL));
    pid_t pid = leader();
    if (pid == 0) {
        background();
        orphan();
        SHOW(ioctl(slave, TIOCNOTTY));
        _exit(0);
    }
    pause_ms(100);
    MUST(write(master, "typed\n", 6));
    reap("session leader", pid, 0);
    tcflush(master, TCIFLUSH);
    end_of_session();
    hang_up();
    return 0;
}
