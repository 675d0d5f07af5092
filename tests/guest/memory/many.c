/* As many mappings as a process may have: the next one is refused, and the process lives on. */
#include "check.h"

#define PAGE 4096L
/* More than vm.max_map_count lets be apart from each other. */
#define PAGES 140000L

static char *reserve(void)
{
    char *p = mmap(NULL, PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        _exit(1);
    return p;
}

/* Does it to every other page until it fails. */
static void every_other(const char *what, int (*change)(char *page))
{
    char *p = reserve();
    long i = 1;
    errno = 0;
    while (i < PAGES && change(p + i * PAGE) == 0)
        i += 2;
    say("%s: %s after %s", what, strerror(errno), i > 60000 && i < PAGES ? "very many" : "another number");
    SHOW(munmap(p, PAGES * PAGE));
}

static int protect(char *page)
{
    return mprotect(page, PAGE, PROT_READ);
}

static int unmap(char *page)
{
    return munmap(page, PAGE);
}

static int replace(char *page)
{
    void *p = mmap(page, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    return p == MAP_FAILED ? -1 : 0;
}

int main(void)
{
    every_other("mprotect", protect);
    every_other("munmap", unmap);
    every_other("mmap", replace);
    return 0;
}
