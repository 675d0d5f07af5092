/* The signal at a parent's death is the parent's own: it comes only if the parent may send it. */
//@ root=only
#include "check.h"
#include <sys/prctl.h>

static volatile sig_atomic_t came;

static void handler(int signal)
{
    came = signal;
}

static void try(const char *what, uid_t parent, uid_t child)
{
    int ready[2], told[2];
    MUST(pipe(ready));
    MUST(pipe(told));
    pid_t middle = fork();
    if (middle == 0) {
        if (fork() == 0) {
            signal(SIGUSR1, handler);
            MUST(setresuid(child, child, child));
            MUST(prctl(PR_SET_PDEATHSIG, SIGUSR1));
            pid_t above = getppid();
            MUST(write(ready[1], "x", 1));
            while (getppid() == above)
                pause_ms(1);
            pause_ms(20);
            char text[64];
            int n = snprintf(text, sizeof text, "%s: %s", what, came ? "told" : "not told");
            MUST(write(told[1], text, n));
            _exit(0);
        }
        char c;
        MUST(read(ready[0], &c, 1));
        MUST(setresuid(parent, parent, parent));
        _exit(0);
    }
    waitpid(middle, NULL, 0);
    close(told[1]);
    char text[64];
    ssize_t n = MUST(read(told[0], text, sizeof text - 1));
    text[n] = 0;
    say("%s", text);
}

int main(void)
{
    try("both root", 0, 0);
    try("the same user", 1000, 1000);
    try("root's child", 0, 1000);
    try("a user's child that is root", 1000, 0);
    try("another user's", 1000, 1001);
    return 0;
}
