/* sigaction, masks, pending, siginfo, nested delivery, SA_* flags, alternate stacks. */
#include "check.h"
#include <ucontext.h>

static volatile sig_atomic_t count, order[16], filled;
static siginfo_t last;
static char alternate[65536];

static void note(int signal)
{
    order[filled++ & 15] = signal;
    count++;
}
static void info(int signal, siginfo_t *i, void *context)
{
    last = *i;
    count++;
}
static void on_stack(int signal)
{
    char here;
    order[0] = &here >= alternate && &here < alternate + sizeof alternate;
}
static void nested(int signal)
{
    order[filled++ & 15] = signal;
    if (signal == SIGUSR1)
        raise(SIGUSR2);
    order[filled++ & 15] = -signal;
}

static void install(int signal, void (*handler)(int), int flags, sigset_t mask)
{
    struct sigaction a = {.sa_handler = handler, .sa_flags = flags, .sa_mask = mask};
    MUST(sigaction(signal, &a, NULL));
}

static void show_order(const char *what)
{
    printf("%s:", what);
    for (int i = 0; i < filled; i++)
        printf(" %d", order[i]);
    say("%s", "");
    filled = 0;
}

int main(void)
{
    sigset_t none, some, old, pending;
    sigemptyset(&none);
    install(SIGUSR1, note, 0, none);
    SHOW(raise(SIGUSR1));
    SHOW(count);
    SHOW(sigaction(SIGKILL, &(struct sigaction){.sa_handler = note}, NULL));
    SHOW(sigaction(65, &(struct sigaction){.sa_handler = note}, NULL));
    SHOW(kill(getpid(), 0));
    SHOW(kill(getpid(), 65));
    SHOW(kill(99999, 0));

    sigemptyset(&some);
    sigaddset(&some, SIGUSR1);
    sigaddset(&some, SIGUSR2);
    sigaddset(&some, SIGRTMIN);
    sigaddset(&some, SIGRTMIN + 1);
    install(SIGUSR2, note, 0, none);
    install(SIGRTMIN, note, 0, none);
    install(SIGRTMIN + 1, note, 0, none);
    SHOW(sigprocmask(SIG_BLOCK, &some, &old));
    SHOW(sigprocmask(77, &some, NULL));
    count = filled = 0;
    raise(SIGRTMIN + 1);
    raise(SIGUSR2);
    raise(SIGRTMIN);
    raise(SIGUSR1);
    raise(SIGUSR1);
    raise(SIGRTMIN);
    SHOW(sigpending(&pending));
    SHOW(sigismember(&pending, SIGUSR1) + sigismember(&pending, SIGRTMIN) * 2 + sigismember(&pending, SIGHUP) * 4);
    SHOW(count);
    SHOW(sigprocmask(SIG_SETMASK, &old, NULL));
    say("delivered %d", count);
    show_order("order of several pending at once");

    struct sigaction a = {.sa_sigaction = info, .sa_flags = SA_SIGINFO};
    MUST(sigaction(SIGRTMIN, &a, NULL));
    union sigval value = {.sival_int = 4711};
    SHOW(sigqueue(getpid(), SIGRTMIN, value));
    say("code %d value %d own pid %d uid %d", last.si_code == SI_QUEUE, last.si_value.sival_int, last.si_pid == getpid(), last.si_uid == getuid());
    kill(getpid(), SIGRTMIN);
    say("code %d", last.si_code == SI_USER);
    syscall(SYS_tgkill, getpid(), gettid(), SIGRTMIN);
    say("code %d", last.si_code == SI_TKILL);

    install(SIGUSR1, nested, 0, none);
    install(SIGUSR2, nested, 0, none);
    raise(SIGUSR1);
    show_order("nested");
    sigemptyset(&some);
    sigaddset(&some, SIGUSR2);
    install(SIGUSR1, nested, 0, some);
    raise(SIGUSR1);
    show_order("masked while handling");
    install(SIGUSR1, note, SA_RESETHAND, none);
    raise(SIGUSR1);
    sigaction(SIGUSR1, NULL, &a);
    SHOW(a.sa_handler == SIG_DFL);

    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    SHOW(sigaltstack(&stack, NULL));
    install(SIGUSR1, on_stack, SA_ONSTACK, none);
    raise(SIGUSR1);
    say("on the alternate stack: %d", order[0]);
    install(SIGUSR1, on_stack, 0, none);
    raise(SIGUSR1);
    say("on the alternate stack: %d", order[0]);
    stack.ss_size = 100;
    SHOW(sigaltstack(&stack, NULL));
    stack.ss_flags = 0x100;
    SHOW(sigaltstack(&stack, NULL));
    signal(SIGCHLD, SIG_IGN);
    if (fork() == 0)
        _exit(3);
    SHOW(wait(NULL));
    return 0;
}
