//@ timeout=60
/* Processes that fork and run programs, each of which makes enough calls to matter. */
#include "../check.h"

static int calls(void) {
    int wrong = 0;
    pid_t parent = getppid(), self = getpid();
    for (int i = 0; i < 60; i++) {
        wrong += getppid() != parent || getpid() != self;
        wrong += close(-1) != -1 || errno != EBADF;
    }
    return wrong;
}

int main(int argc, char **argv) {
    if (argc > 1)
        return calls();
    int wrong = 0;
    for (int i = 0; i < 30; i++) {
        pid_t child = MUST(fork());
        if (child == 0) {
            int n = calls();
            if (n == 0 && i % 2)
                execl("/proc/self/exe", argv[0], "child", (char *)NULL);
            _exit(n);
        }
        if (i % 3)
            wrong += calls();
        int status = -1;
        MUST(waitpid(child, &status, 0));
        wrong += status != 0;
    }
    printf("wrong: %d\n", wrong);
    return 0;
}
