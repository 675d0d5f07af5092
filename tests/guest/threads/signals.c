/* Signals and threads: who gets them, masks per thread, exec and fork with threads. */
#include "check.h"
#include <pthread.h>

static volatile pid_t handled_by;
static void note(int signal)
{
    handled_by = gettid();
}
static volatile pid_t other;
static void *unblocked(void *argument)
{
    sigset_t set;
    sigemptyset(&set);
    pthread_sigmask(SIG_SETMASK, &set, NULL);
    other = gettid();
    while (!handled_by)
        pause_ms(1);
    return NULL;
}
static void *idle(void *argument)
{
    for (;;)
        pause();
    return NULL;
}
static void *executes(void *argument)
{
    execl("/bin/echo", "echo", "executed by a thread", NULL);
    return NULL;
}

int main(void)
{
    pthread_t t, u;
    sigset_t set;
    signal(SIGUSR1, note);
    sigfillset(&set);
    pthread_sigmask(SIG_SETMASK, &set, NULL);
    pthread_create(&t, NULL, unblocked, NULL);
    while (!other)
        pause_ms(1);
    kill(getpid(), SIGUSR1);
    pthread_join(t, NULL);
    say("the only thread that takes it got it: %d", handled_by == other);
    sigemptyset(&set);
    pthread_sigmask(SIG_SETMASK, &set, NULL);
    handled_by = 0;
    pthread_create(&u, NULL, idle, NULL);
    SHOW(pthread_kill(u, SIGUSR1));
    while (!handled_by)
        pause_ms(1);
    say("thread-directed: %d", handled_by != getpid());
    SHOW(syscall(SYS_tgkill, getpid(), 1 << 21, SIGUSR1));
    SHOW(syscall(SYS_tgkill, getpid() + 1000, gettid(), 0));
    SHOW(syscall(SYS_tkill, 0, SIGUSR1));
    fflush(stdout);
    pid_t child = MUST(fork());
    if (child == 0) {
        say("threads in the child of a fork: only one");
        pthread_create(&t, NULL, idle, NULL);
        pthread_create(&t, NULL, executes, NULL);
        for (;;)
            pause();
    }
    int status;
    MUST(waitpid(child, &status, 0));
    show_status("exec by a thread", status);
    child = MUST(fork());
    if (child == 0) {
        pthread_create(&t, NULL, idle, NULL);
        raise(SIGKILL);
    }
    MUST(waitpid(child, &status, 0));
    show_status("killed with threads", status);
    child = MUST(fork());
    if (child == 0) {
        pthread_create(&t, NULL, idle, NULL);
        syscall(SYS_exit_group, 17);
    }
    MUST(waitpid(child, &status, 0));
    show_status("exit_group", status);
    child = MUST(fork());
    if (child == 0) {
        pthread_create(&t, NULL, idle, NULL);
        pause_ms(10);
        raise(SIGSTOP);
        _exit(3);
    }
    MUST(waitpid(child, &status, WUNTRACED));
    show_status("stopped with threads", status);
    kill(child, SIGCONT);
    MUST(waitpid(child, &status, 0));
    show_status("and continued", status);
    return 0;
}
