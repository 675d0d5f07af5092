/* Process groups, sessions, kill to groups, orphaned groups. */
#include "check.h"

static void on_hup(int signal)
{
    say("SIGHUP");
    _exit(4);
}

int main(void)
{
    int status;
    SHOW(getpgid(0) == getpgrp());
    SHOW(setsid() == -1 ? errno == EPERM : getsid(0) == getpid());
    pid_t a = MUST(fork());
    if (a == 0) {
        SHOW(setpgid(0, 0));
        SHOW(getpgrp() == getpid());
        pid_t b = MUST(fork());
        if (b == 0)
            for (;;)
                pause();
        pid_t c = MUST(fork());
        if (c == 0)
            for (;;)
                pause();
        signal(SIGTERM, SIG_IGN);
        SHOW(kill(0, SIGTERM));
        MUST(waitpid(b, &status, 0));
        show_status("member", status);
        MUST(waitpid(c, &status, 0));
        show_status("member", status);
        _exit(0);
    }
    MUST(waitpid(a, &status, 0));
    a = MUST(fork());
    if (a == 0) {
        pause_ms(2000);
        _exit(0);
    }
    SHOW(setpgid(a, a));
    SHOW(getpgid(a) == a);
    SHOW(setpgid(a, 1 << 21));
    SHOW(killpg(a, SIGKILL));
    SHOW(waitpid(-a, &status, 0) == a);
    show_status("group", status);
    SHOW(killpg(a, 0));
    SHOW(waitpid(-a, &status, 0));
    a = MUST(fork());
    if (a == 0) {
        SHOW(setsid() == getpid());
        SHOW(setsid());
        SHOW(setpgid(0, 0));
        SHOW(getsid(0) == getpid());
        SHOW(open("/dev/tty", O_RDWR));
        _exit(0);
    }
    MUST(waitpid(a, &status, 0));
    SHOW(getsid(1 << 21));
    SHOW(setpgid(-1, 0));
    SHOW(setpgid(0, -1));
    /* A stopped group that becomes an orphan gets SIGHUP and SIGCONT. */
    int p[2];
    MUST(pipe(p));
    a = MUST(fork());
    if (a == 0) {
        setpgid(0, 0);
        pid_t b = MUST(fork());
        if (b == 0) {
            signal(SIGHUP, on_hup);
            MUST(write(p[1], "r", 1));
            raise(SIGSTOP);
            pause_ms(500);
            _exit(5);
        }
        char c;
        MUST(read(p[0], &c, 1));
        MUST(waitpid(b, &status, WUNTRACED));
        show_status("stopped", status);
        _exit(0);
    }
    MUST(waitpid(a, &status, 0));
    close(p[1]);
    char c;
    SHOW(read(p[0], &c, 1));
    return 0;
}
