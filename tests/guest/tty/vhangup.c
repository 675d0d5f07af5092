//@ root=only
/* vhangup(2): with a terminal, without one, without the right. */
#include "check.h"
#include <pty.h>
#include <sys/prctl.h>

static volatile sig_atomic_t hangups;

static void count(int signal)
{
    hangups += signal == SIGHUP;
}

int main(void)
{
    pid_t pid = MUST(fork());
    if (pid == 0) {
        MUST(setsid());
        SHOW(syscall(SYS_vhangup));
        MUST(setuid(1000));
        SHOW(syscall(SYS_vhangup));
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    int master, slave;
    char byte;
    MUST(openpty(&master, &slave, NULL, NULL, NULL));
    pid = MUST(fork());
    if (pid == 0) {
        signal(SIGHUP, count);
        MUST(setsid());
        MUST(ioctl(slave, TIOCSCTTY, 0));
        SHOW(write(slave, "x", 1));
        SHOW(syscall(SYS_vhangup));
        say("hangups %d", hangups);
        SHOW(write(slave, "x", 1));
        SHOW(read(slave, &byte, 1));
        SHOW(open("/dev/tty", O_RDWR));
        SHOW(syscall(SYS_vhangup));
        say("hangups %d", hangups);
        _exit(0);
    }
    int status;
    MUST(waitpid(pid, &status, 0));
    say("ended with %#x", status);
    SHOW(write(slave, "x", 1));
    return 0;
}
