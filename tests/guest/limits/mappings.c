/* As many mappings as there may be: the calls that would make more fail, and the process goes on. */
#include "check.h"

enum { COUNT = 100000, PAGE = 4096 };

int main(void)
{
    /* The calls of a program that makes many go another way. */
    for (int i = 0; i < 2000; i++)
        syscall(SYS_getppid);
    char *m = mmap(NULL, 2L * COUNT * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    MUST((long)m);
    int split = 0, error = 0;
    while (split < COUNT && mprotect(m + 2L * split * PAGE, PAGE, PROT_READ) == 0)
        split++;
    int full = errno == ENOMEM && split > 10000 && split < COUNT;
    SHOW(full);
    for (int i = 0; i < 100 && error == 0; i++)
        if (munmap(m + 2L * (COUNT - 2 - i) * PAGE, PAGE) != 0)
            error = errno;
    SHOW(error == ENOMEM);
    SHOW(munmap(m, 2L * COUNT * PAGE));
    return 0;
}
