/* fork, wait in all forms, exit codes, orphans, zombies. */
#include "check.h"
#include <sys/prctl.h>

int main(void)
{
    int status;
    siginfo_t info;
    SHOW(wait(&status));
    pid_t a = MUST(fork());
    if (a == 0)
        _exit(300);
    SHOW(waitpid(a, &status, 0) == a);
    show_status("low eight bits", status);
    SHOW(waitpid(a, &status, 0));
    a = MUST(fork());
    if (a == 0)
        for (;;)
            pause();
    SHOW(waitpid(a, &status, WNOHANG));
    kill(a, SIGTERM);
    SHOW(waitpid(-1, &status, 0) == a);
    show_status("terminated", status);
    a = MUST(fork());
    if (a == 0) {
        raise(SIGSTOP);
        /* The parent's wait must find it alive. */
        pause_ms(200);
        _exit(1);
    }
    SHOW(waitid(P_PID, a, &info, WSTOPPED | WEXITED | WNOWAIT));
    say("code %d status %d", info.si_code == CLD_STOPPED, info.si_status);
    SHOW(waitid(P_PID, a, &info, WSTOPPED));
    SHOW(waitpid(a, &status, WUNTRACED | WNOHANG));
    kill(a, SIGCONT);
    SHOW(waitid(P_PID, a, &info, WCONTINUED | WEXITED));
    say("code %d", info.si_code == CLD_CONTINUED || info.si_code == CLD_EXITED);
    SHOW(waitid(P_PID, a, &info, WEXITED | WNOWAIT));
    say("code %d status %d pid %d", info.si_code == CLD_EXITED, info.si_status, info.si_pid == a);
    SHOW(kill(a, 0));
    SHOW(waitid(P_ALL, 0, &info, WEXITED));
    SHOW(kill(a, 0));
    SHOW(waitid(P_ALL, 0, &info, WEXITED));
    SHOW(waitid(P_PID, a, &info, 0));
    SHOW(waitpid(1 << 22, &status, 0));
    SHOW(waitpid(-1, &status, 0x12345678));

    /* An orphan goes to the nearest subreaper. */
    MUST(prctl(PR_SET_CHILD_SUBREAPER, 1));
    int p[2];
    MUST(pipe(p));
    a = MUST(fork());
    if (a == 0) {
        if (fork() == 0) {
            while (getppid() == a)
                pause_ms(1);
            pid_t me = getpid();
            pause_ms(20);
            MUST(write(p[1], &me, sizeof me));
            _exit(9);
        }
        _exit(0);
    }
    MUST(waitpid(a, &status, 0));
    pid_t orphan;
    MUST(read(p[0], &orphan, sizeof orphan));
    SHOW(waitpid(-1, &status, 0) == orphan);
    show_status("orphan", status);
    struct rusage usage;
    a = MUST(fork());
    if (a == 0) {
        volatile long x = 0;
        struct timespec t;
        do {
            for (int i = 0; i < 100000; i++)
                x += i;
            clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
        } while (t.tv_nsec < 50000000);
        _exit(0);
    }
    SHOW(wait4(a, &status, 0, &usage) == a);
    say("used CPU %d", usage.ru_utime.tv_sec * 1000000 + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec >= 40000);
    pid_t many[50];
    for (int i = 0; i < 50; i++)
        if ((many[i] = MUST(fork())) == 0)
            _exit(i);
    int sum = 0;
    for (int i = 49; i >= 0; i--) {
        MUST(waitpid(many[i], &status, 0));
        sum += WEXITSTATUS(status) == i;
    }
    say("fifty %d", sum);
    return 0;
}
