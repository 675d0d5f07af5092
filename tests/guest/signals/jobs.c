/* Stops and continues: what the parent learns, SA_NOCLDSTOP, stops of all threads, killing the stopped. */
#include "check.h"

static volatile sig_atomic_t chld, continued;
static siginfo_t last;
static void on_chld(int signal, siginfo_t *info, void *context)
{
    last = *info;
    chld++;
}
static void on_cont(int signal)
{
    continued++;
}
static void wait_for(volatile sig_atomic_t *what, int n)
{
    for (int i = 0; i < 5000 && *what < n; i++)
        pause_ms(1);
}

int main(void)
{
    struct sigaction a = {.sa_sigaction = on_chld, .sa_flags = SA_SIGINFO};
    int status, p[2];
    MUST(sigaction(SIGCHLD, &a, NULL));
    MUST(pipe(p));
    pid_t child = MUST(fork());
    if (child == 0) {
        /* A group of its own: in an orphaned one only SIGSTOP would stop it. */
        setpgid(0, 0);
        signal(SIGCONT, on_cont);
        /* Its handler runs while the child waits for it, never before. */
        sigset_t cont, none;
        sigemptyset(&none);
        sigemptyset(&cont);
        sigaddset(&cont, SIGCONT);
        sigprocmask(SIG_BLOCK, &cont, NULL);
        for (;;) {
            sigsuspend(&none);
            char n = '0' + continued;
            MUST(write(p[1], &n, 1));
        }
    }
    pause_ms(50);
    const int stops[] = {SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};
    for (int i = 0; i < 4; i++) {
        int before = chld;
        MUST(kill(child, stops[i]));
        wait_for(&chld, before + 1);
        say("SIGCHLD: code %d status %d child %d", last.si_code, last.si_status, last.si_pid == child);
        SHOW(waitpid(child, &status, WNOHANG));
        SHOW(waitpid(child, &status, WNOHANG | WUNTRACED) == child);
        show_status("child", status);
        SHOW(waitpid(child, &status, WNOHANG | WUNTRACED));
        /* Signals wait while it stands. */
        MUST(kill(child, SIGCHLD));
        before = chld;
        MUST(kill(child, SIGCONT));
        wait_for(&chld, before + 1);
        say("SIGCHLD: code %d status %d", last.si_code, last.si_status);
        siginfo_t info = {0};
        SHOW(waitid(P_PID, child, &info, WCONTINUED | WNOWAIT));
        say("waitid: code %d status %d", info.si_code, info.si_status);
        SHOW(waitpid(child, &status, WCONTINUED) == child);
        show_status("child", status);
        char c;
        MUST(read(p[0], &c, 1));
        say("its handler ran %c times", c);
    }
    /* Not told of stops. */
    a.sa_flags |= SA_NOCLDSTOP;
    MUST(sigaction(SIGCHLD, &a, NULL));
    chld = 0;
    kill(child, SIGSTOP);
    SHOW(waitpid(child, &status, WUNTRACED) == child);
    SHOW(chld);
    /* A stopped process dies of SIGKILL at once, of SIGTERM when it is continued. */
    kill(child, SIGTERM);
    pause_ms(30);
    SHOW(waitpid(child, &status, WNOHANG));
    kill(child, SIGCONT);
    SHOW(waitpid(child, &status, 0) == child);
    show_status("child", status);
    child = MUST(fork());
    if (child == 0)
        for (;;)
            pause();
    kill(child, SIGSTOP);
    SHOW(waitpid(child, &status, WUNTRACED) == child);
    kill(child, SIGKILL);
    SHOW(waitpid(child, &status, 0) == child);
    show_status("child", status);
    /* A handler for SIGTSTP instead of a stop, and a stop from within. */
    child = MUST(fork());
    if (child == 0) {
        setpgid(0, 0);
        signal(SIGTSTP, on_cont);
        raise(SIGTSTP);
        signal(SIGTSTP, SIG_DFL);
        raise(SIGTSTP);
        _exit(continued);
    }
    SHOW(waitpid(child, &status, WUNTRACED) == child);
    show_status("child", status);
    kill(child, SIGCONT);
    SHOW(waitpid(child, &status, 0) == child);
    show_status("child", status);
    /* Sleeping through a stop. */
    child = MUST(fork());
    if (child == 0) {
        long start = now_ms();
        struct timespec t = {0, 300000000};
        SHOW(nanosleep(&t, NULL));
        long passed = now_ms() - start;
        SHOW(passed >= 300 && passed < 2000);
        struct pollfd f = {p[0], POLLIN, 0};
        start = now_ms();
        SHOW(poll(&f, 1, 200));
        passed = now_ms() - start;
        SHOW(passed >= 200 && passed < 2000);
        _exit(0);
    }
    for (int i = 0; i < 4; i++) {
        pause_ms(60);
        kill(child, SIGSTOP);
        MUST(waitpid(child, &status, WUNTRACED));
        pause_ms(20);
        kill(child, SIGCONT);
    }
    MUST(waitpid(child, &status, 0));
    show_status("child", status);
    return 0;
}
