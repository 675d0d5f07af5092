/* Pseudo-terminals: line discipline, control characters, sessions and foreground groups, window size. */
#include "check.h"
#include <pty.h>
#include <termios.h>

static int master, slave;
static char buffer[4096];

static void print(const char *what, ssize_t n)
{
    printf("%s: %zd \"", what, n);
    for (ssize_t i = 0; i < n; i++)
        if (buffer[i] >= ' ' && buffer[i] < 127)
            putchar(buffer[i]);
        else
            printf("\\%o", (unsigned char)buffer[i]);
    say("\"");
}

static void show(const char *what, int fd)
{
    print(what, read(fd, buffer, sizeof buffer));
}

/* What the master gets, to the end that is expected: Linux passes output on in pieces, some time after it was written. */
static void show_until(const char *what, const char *end)
{
    size_t got = 0, size = strlen(end);
    struct pollfd p = {master, POLLIN, 0};
    while ((got < size || memcmp(buffer + got - size, end, size) != 0) && poll(&p, 1, 5000) == 1) {
        ssize_t n = read(master, buffer + got, sizeof buffer - got);
        if (n <= 0)
            break;
        got += n;
    }
    print(what, got);
}

static void type(const char *text)
{
    MUST(write(master, text, strlen(text)));
}

int main(void)
{
    /* Shells start what runs in the background with it ignored. */
    signal(SIGINT, SIG_DFL);
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
    show_until("echo", "hello\r\n");
    type("ab\177c\025new\n");
    show("erase and kill", slave);
    show_until("echo", "new\r\n");
    type("x\004");
    show("end of file after text", slave);
    type("\004");
    show("end of file", slave);
    show_until("echo", "x");
    MUST(write(slave, "one\ntwo", 7));
    show_until("output processing", "two");
    struct termios locked;
    memset(&locked, 1, sizeof locked);
    SHOW(ioctl(slave, TIOCGLCKTRMIOS, &locked));
    SHOW(locked.c_iflag | locked.c_oflag | locked.c_lflag | locked.c_cc[0]);
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
    struct pollfd input = {slave, POLLIN, 0};
    SHOW(poll(&input, 1, 5000));
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
    int seen[2];
    MUST(pipe(seen));
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
        /* The end of the session throws away what the master has not got yet. */
        char c;
        MUST(read(seen[0], &c, 1));
        MUST(waitpid(job, &status, 0));
        show_status("interrupted in the foreground", status);
        SHOW(tcgetpgrp(slave) == job);
        _exit(0);
    }
    close(slave);
    show_until("from the job", "ready\r\n");
    type("\003");
    show_until("echo of the interrupt", "^C");
    MUST(write(seen[1], "x", 1));
    int status;
    MUST(waitpid(child, &status, 0));
    show_status("session leader", status);
    SHOW(read(master, buffer, 10));
    close(master);
    /* Hang-up: the session's leader gets SIGHUP when the master closes. */
    child = forkpty(&master, NULL, NULL, NULL);
    if (child == 0) {
        MUST(write(seen[1], "x", 1));
        for (;;)
            pause();
    }
    char c;
    MUST(read(seen[0], &c, 1));
    close(master);
    MUST(waitpid(child, &status, 0));
    show_status("hung up", status);
    SHOW(open("/dev/pts/9999", O_RDWR));
    return 0;
}
