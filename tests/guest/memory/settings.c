/* prctl's settings of an address space: memory that may not become executable, merging, huge pages; what fork and execve hand on. */
//@ static=no
#include "check.h"
#include <sys/prctl.h>

enum { SET_MDWE = 65, GET_MDWE, SET_MERGE, GET_MERGE, GET_AUXV = 0x41555856, PAGE = 4096 };

static char *map(int prot)
{
    return mmap(NULL, PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void mdwe(unsigned long bits)
{
    say("MDWE %lu", bits);
    SHOW(prctl(SET_MDWE, bits, 0, 0, 0));
    SHOW(prctl(GET_MDWE, 0, 0, 0, 0));
    WORKS(map(PROT_READ | PROT_WRITE | PROT_EXEC));
    char *data = map(PROT_READ | PROT_WRITE);
    SHOW(mprotect(data, PAGE, PROT_READ | PROT_EXEC));
    SHOW(mprotect(data, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC));
    SHOW(mprotect(data, PAGE, PROT_READ));
    char *text = map(PROT_READ | PROT_EXEC);
    SHOW(mprotect(text, PAGE, PROT_READ | PROT_EXEC));
    SHOW(mprotect(text, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC));
    SHOW(mprotect(text, PAGE, PROT_READ));
    SHOW(mprotect(text, PAGE, PROT_READ | PROT_EXEC));
    SHOW(prctl(SET_MDWE, 0, 0, 0, 0));
    SHOW(prctl(SET_MDWE, 1, 0, 0, 0));
    SHOW(prctl(SET_MDWE, 3, 0, 0, 0));
    if (fork() == 0) {
        SHOW(prctl(GET_MDWE, 0, 0, 0, 0));
        execl("/proc/self/exe", "settings", "again", NULL);
        _exit(1);
    }
    wait(NULL);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        SHOW(prctl(GET_MDWE, 0, 0, 0, 0));
        SHOW(prctl(GET_MERGE, 0, 0, 0, 0));
        return 0;
    }
    SHOW(prctl(SET_MDWE, 2, 0, 0, 0));
    SHOW(prctl(SET_MDWE, 4, 0, 0, 0));
    SHOW(prctl(SET_MDWE, 1, 1, 0, 0));
    SHOW(prctl(GET_MDWE, 1, 0, 0, 0));
    SHOW(prctl(SET_MERGE, 0, 1, 0, 0));
    SHOW(prctl(GET_MERGE, 1, 0, 0, 0));
    SHOW(prctl(SET_MERGE, 1, 0, 0, 0));
    SHOW(prctl(GET_MERGE, 0, 0, 0, 0));
    for (unsigned long bits = 0; bits < 4; bits++) {
        if (fork() == 0) {
            mdwe(bits);
            _exit(0);
        }
        wait(NULL);
    }
    SHOW(prctl(SET_MERGE, 0, 0, 0, 0));
    SHOW(prctl(GET_MERGE, 0, 0, 0, 0));

    SHOW(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
    SHOW(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
    SHOW(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0));
    SHOW(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));

    SHOW(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
    SHOW(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0));
    SHOW(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
    if (fork() == 0) {
        SHOW(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
        _exit(0);
    }
    wait(NULL);
    SHOW(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, 3, 0, 0));
    SHOW(prctl(PR_MCE_KILL, PR_MCE_KILL_CLEAR, 1, 0, 0));
    SHOW(prctl(PR_MCE_KILL, PR_MCE_KILL_CLEAR, 0, 0, 0));
    SHOW(prctl(PR_MCE_KILL, 5, 0, 0, 0));
    SHOW(prctl(PR_MCE_KILL_GET, 1, 0, 0, 0));
    SHOW(prctl(PR_TASK_PERF_EVENTS_DISABLE));
    SHOW(prctl(PR_TASK_PERF_EVENTS_ENABLE));

    uint64_t words[128] = {0};
    long length = prctl(GET_AUXV, words, sizeof words, 0, 0);
    say("a whole vector: %d", length > 64 && length % 16 == 0 && words[length / 8 - 2] == 0);
    SHOW(prctl(GET_AUXV, words, sizeof words, 1, 0));
    SHOW(prctl(GET_AUXV, 8, sizeof words, 0, 0));
    say("its length: %d", prctl(GET_AUXV, NULL, 0, 0, 0) == length);
    return 0;
}
