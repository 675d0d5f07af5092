/* Pseudo-terminals: line discipline, control characters, sessions and foreground groups, window size. */
#include "check.h"
#include <pty.h>
#include <termios.h>

static int master, slave;
static char buffer[4096];

static void show(const char *what, int fd)
{
    ssize_t n = read(fd, buffer, sizeof buffer);
    printf("%s: %zd \"", what, n);
    for (ssize_t i = 0; i < n; i++)
        if (buffer[i] >= ' ' && buffer[i] < 127)
            putchar(buffer[i]);
        else
            printf("\\%o", (unsigned char)buffer[i]);
    say("\"");
}

static void type(const char *text)
{
    MUST(write(master, text, strlen(text)));
}

int main(void)
{
    master = MUST(posix_openpt(O_RDWR | O_NOCTTY));
    SHOW(grantpt(master));
    SHOW(unlockpt(master));
    slave = MUST(open(ptsname(master), O_RDWR | O_NOCTTY));
    SHOW(isatty(slave));
    SHOW(isatty(master));
    struct termios t;
    SHOW(tcgetattr(slave, &t));
    say("input %o output %o local %o intr %d eof %d", t.c_iflag, t.c_oflag, t.c_lflag, t.c_cc[VINTR], t.c_cc[VEOF]);
    type("hello\n");
    show("line", slave);
    show("echo", master);
    type("ab\177c\025new\n");
    show("erase and kill", slave);
    show("echo", master);
    type("x\004");
    show("end of file after text", slave);
    type("\004");
    show("end of file", slave);
    show("echo", master);
    MUST(write(slave, "one\ntwo", 7));
    show("output processing", master);
    struct winsize w = {.ws_row = 33, .ws_col = 111}, got;
    SHOW(ioctl(master, TIOCSWINSZ, &w));
    SHOW(ioctl(slave, TIOCGWINSZ, &got));
    say("%d x %d", got.ws_row, got.ws_col);
    t.c_lflag &= ~(ICANON | ECHO);
    t.c_cc[VMIN] = 3;
    t.c_cc[VTIME] = 0;
    SHOW(tcsetattr(slave, TCSANOW, &t));
    type("abcd");
    show("at least three", slave);
    t.c_cc[VMIN] = 0;
    t.c_cc[VTIME] = 1;
    MUST(tcsetattr(slave, TCSANOW, &t));
    show("a tenth of a second", slave);
    MUST(tcsetattr(slave, TCSAFLUSH, &t));
    int queued;
    type("queued");
    pause_ms(50);
    SHOW(ioctl(slave, FIONREAD, &queued));
    SHOW(queued);
    SHOW(tcflush(slave, TCIFLUSH));
    SHOW(ioctl(slave, FIONREAD, &queued));
    SHOW(queued);
    t.c_lflag |= ICANON | ECHO | ISIG;
    t.c_cc[VMIN] = 1;
    MUST(tcsetattr(slave, TCSANOW, &t));
    SHOW(tcgetpgrp(slave));

    fflush(stdout);
    pid_t child = MUST(fork());
    if (child == 0) {
        setsid();
        close(master);
        SHOW(ioctl(slave, TIOCSCTTY, 0));
        SHOW(tcgetpgrp(slave) == getpgrp());
        SHOW(close(MUST(open("/dev/tty", O_RDWR))));
        pid_t job = MUST(fork());
        if (job == 0) {
            setpgid(0, 0);
            pause_ms(100);
            char c;
            SHOW(read(slave, &c, 1));
            _exit(0);
        }
        setpgid(job, job);
        int status;
        MUST(waitpid(job, &status, WUNTRACED));
        show_status("background reader", status);
        kill(job, SIGKILL);
        MUST(waitpid(job, &status, 0));
        job = MUST(fork());
        if (job == 0) {
            signal(SIGTTOU, SIG_IGN);
            setpgid(0, 0);
            tcsetpgrp(slave, getpid());
            MUST(write(slave, "ready\n", 6));
            for (;;)
                pause();
        }
        setpgid(job, job);
        MUST(waitpid(job, &status, 0));
        show_status("interrupted in the foreground", status);
        SHOW(tcgetpgrp(slave) == job);
        _exit(0);
    }
    close(slave);
    show("from the job", master);
    pause_ms(50);
    type("\003");
    int status;
    MUST(waitpid(child, &status, 0));
    show_status("session leader", status);
    show("echo of the interrupt", master);
    SHOW(read(master, buffer, 10));
    close(master);
    /* Hang-up: the session's leader gets SIGHUP when the master closes. */
    child = forkpty(&master, NULL, NULL, NULL);
    if (child == 0)
        for (;;)
            pause();
    pause_ms(50);
    close(master);
    MUST(waitpid(child, &status, 0));
    show_status("hung up", status);
    SHOW(open("/dev/pts/9999", O_RDWR));
    return 0;
}
