/* Which pages are in memory: mincore, /proc/self/pagemap, smaps; mlock and mlockall fill what they lock. */
#include "check.h"

enum { PAGE = 4096, PAGES = 8 };

static void show_mincore(const char *what, char *at)
{
    unsigned char in[PAGES];
    printf("%s:", what);
    if (mincore(at, PAGES * PAGE, in) < 0)
        printf(" %s", strerrorname_np(errno));
    else
        for (int i = 0; i < PAGES; i++)
            printf(" %d", in[i] & 1);
    puts("");
    fflush(stdout);
}

/* Present, file or shared, swapped. */
static void show_pagemap(const char *what, char *at)
{
    uint64_t words[PAGES];
    int fd = MUST(open("/proc/self/pagemap", O_RDONLY));
    off_t offset = (uintptr_t)at / PAGE * 8;
    ssize_t n = pread(fd, words, sizeof words, offset);
    printf("%s: %zd:", what, n);
    for (int i = 0; i < PAGES && n == sizeof words; i++)
        printf(" %d%d%d", (int)(words[i] >> 63), (int)(words[i] >> 61 & 1), (int)(words[i] >> 62 & 1));
    puts("");
    fflush(stdout);
    close(fd);
}

/* Some numbers that smaps has of the mapping that starts there. */
static void show_smaps(const char *what, char *at)
{
    static const char *const names[] = {"Size", "Rss", "Anonymous", "Swap", "Locked"};
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[512], head[32];
    snprintf(head, sizeof head, "%08lx-", (unsigned long)at);
    int inside = 0;
    printf("%s:", what);
    while (f && fgets(line, sizeof line, f)) {
        char name[64];
        unsigned long start, end, kb;
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            inside = strncmp(line, head, strlen(head)) == 0;
        else if (inside && sscanf(line, "%60[^:]: %lu kB", name, &kb) == 2)
            for (size_t i = 0; i < sizeof names / sizeof *names; i++)
                if (strcmp(name, names[i]) == 0)
                    printf(" %s %lu", name, kb);
    }
    puts("");
    fflush(stdout);
    if (f)
        fclose(f);
}

static void show(const char *what, char *at)
{
    show_mincore(what, at);
    show_pagemap(what, at);
    show_smaps(what, at);
}

static char *map(int prot, int flags)
{
    /* Room around it: mappings that lie next to each other are one. */
    char *room = mmap(NULL, (PAGES + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return mmap(room + PAGE, PAGES * PAGE, prot, flags | MAP_FIXED | MAP_ANONYMOUS, -1, 0);
}

int main(void)
{
    char *p = map(PROT_READ | PROT_WRITE, MAP_PRIVATE);
    show("fresh", p);
    p[PAGE] = p[3 * PAGE] = 1;
    show("two written", p);
    SHOW(madvise(p, 2 * PAGE, MADV_DONTNEED));
    show("one given back", p);
    SHOW(mlock2(p, PAGES * PAGE, MLOCK_ONFAULT));
    show("locked on fault", p);
    SHOW(mlock(p, PAGES * PAGE));
    show("locked", p);
    SHOW(munlock(p, PAGES * PAGE));
    show("unlocked", p);

    char *q = map(PROT_READ | PROT_WRITE, MAP_SHARED);
    show_mincore("shared, fresh", q);
    show_pagemap("shared, fresh", q);
    q[PAGE] = 1;
    show_mincore("shared, one written", q);
    pid_t child = fork();
    if (child == 0) {
        q[5 * PAGE] = 1;
        show_mincore("child", q);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    show_mincore("after the child", q);

    char *r = map(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_POPULATE);
    show("populated", r);
    char *l = map(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_LOCKED);
    show("mapped locked", l);
    char *n = map(PROT_NONE, MAP_PRIVATE);
    show("without access", n);
    char *m = map(PROT_READ | PROT_WRITE, MAP_PRIVATE);
    SHOW(mlockall(MCL_CURRENT));
    show_mincore("all locked", m);
    SHOW(munlockall());
    SHOW(mlockall(MCL_FUTURE));
    m = map(PROT_READ | PROT_WRITE, MAP_PRIVATE);
    show("future locked", m);
    SHOW(mlockall(MCL_FUTURE | MCL_ONFAULT));
    m = map(PROT_READ | PROT_WRITE, MAP_PRIVATE);
    show("future on fault", m);
    SHOW(munlockall());

    /* Errors, and where an answer stops. */
    unsigned char in[PAGES + 1];
    SHOW(mincore(p + 1, PAGE, in));
    SHOW(mincore(p, 0, in));
    SHOW(mincore(p, -1, in));
    SHOW(mincore(p, PAGE, (void *)8));
    SHOW(munmap(p + 4 * PAGE, PAGE));
    memset(in, 9, sizeof in);
    SHOW(mincore(p, 4 * PAGE, in));
    say("behind: %d", in[4]);
    SHOW(mincore(p, PAGES * PAGE, in));

    int fd = MUST(open("/proc/self/pagemap", O_RDONLY));
    uint64_t w[2];
    SHOW(pread(fd, w, 8, 1));
    SHOW(pread(fd, w, 4, 0));
    SHOW(pread(fd, w, 0, 0));
    SHOW(pread(fd, w, 8, 0x7fffffffffff000));
    SHOW(lseek(fd, 0, SEEK_END));
    SHOW(lseek(fd, 16, SEEK_SET));
    SHOW(pread(fd, w, 16, 0));
    say("%#lx %#lx", w[0], w[1]);
    return 0;
}
