/* madvise and process_madvise on mappings of all kinds; membarrier; process_mrelease. */
#include "check.h"

enum { PAGE = 4096, LEN = 8 * PAGE };

static char *map(int prot, int flags, int fd)
{
    return mmap(NULL, LEN, prot, flags, fd, 0);
}

static void all_kinds(void)
{
    int fd = MUST(memfd_create("f", 0));
    MUST(ftruncate(fd, LEN));
    int anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
    struct {
        const char *name;
        char *at;
    } kinds[] = {
        {"private", map(3, anonymous, -1)}, {"shared", map(3, MAP_SHARED | MAP_ANONYMOUS, -1)},
        {"file", map(3, MAP_SHARED, fd)},   {"copy", map(3, MAP_PRIVATE, fd)},
        {"locked", map(3, anonymous, -1)},
    };
    MUST(mlock(kinds[4].at, LEN));
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        for (int advice = -1; advice < 30; advice++) {
            /* What huge pages there are to have differs. */
            if (advice == 14 || advice == 15 || advice == 25)
                continue;
            errno = 0;
            int done = madvise(kinds[i].at, LEN, advice);
            say("%s %d: %d %s", kinds[i].name, advice, done, done ? strerrorname_np(errno) : "");
        }
    char *p = kinds[0].at;
    SHOW(madvise(p + 1, PAGE, MADV_NORMAL));
    SHOW(madvise(p, 0, 77));
    SHOW(madvise(p, 0, MADV_NORMAL));
    SHOW(madvise(p, -1, MADV_NORMAL));
    SHOW(munmap(p + PAGE, PAGE));
    SHOW(madvise(p, LEN, MADV_DONTNEED));
    SHOW(madvise(p, LEN, MADV_WILLNEED));
    SHOW(madvise(p, LEN, MADV_POPULATE_READ));
    SHOW(msync(p, -1, MS_ASYNC));
}

static void others(void)
{
    char *p = map(3, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    int fd = MUST(syscall(SYS_pidfd_open, child, 0));
    int own = MUST(syscall(SYS_pidfd_open, getpid(), 0));
    struct iovec list[] = {{p, PAGE}, {p + 2 * PAGE, 3 * PAGE}, {(void *)PAGE, PAGE}};
#define ADVISE(fd, list, count, advice, flags) \
    syscall(SYS_process_madvise, fd, list, count, advice, flags)
    SHOW(ADVISE(fd, list, 2, MADV_COLD, 0));
    SHOW(ADVISE(fd, list, 2, MADV_PAGEOUT, 0));
    SHOW(ADVISE(fd, list, 2, MADV_WILLNEED, 0));
    SHOW(ADVISE(fd, list, 2, MADV_DONTNEED, 0));
    SHOW(ADVISE(fd, list, 2, 77, 0));
    SHOW(ADVISE(fd, list, 3, MADV_COLD, 0));
    SHOW(ADVISE(fd, list + 2, 1, MADV_COLD, 0));
    SHOW(ADVISE(own, list, 2, MADV_COLD, 0));
    SHOW(ADVISE(fd, list, 2, MADV_COLD, 1));
    SHOW(ADVISE(fd, list, 2000, MADV_COLD, 0));
    SHOW(ADVISE(fd, NULL, 1, MADV_COLD, 0));
    SHOW(ADVISE(-1, list, 1, MADV_COLD, 0));
    SHOW(ADVISE(1, list, 1, MADV_COLD, 0));
    SHOW(syscall(SYS_process_mrelease, fd, 1));
    SHOW(syscall(SYS_process_mrelease, -1, 0));
    SHOW(syscall(SYS_process_mrelease, fd, 0));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    SHOW(syscall(SYS_process_mrelease, fd, 0));
    SHOW(ADVISE(fd, list, 2, MADV_COLD, 0));
}

static void barriers(void)
{
#define BARRIER(command, flags) syscall(SYS_membarrier, command, flags, 0)
    SHOW(BARRIER(0, 0) & 0x27f);
    SHOW(BARRIER(1, 0));
    SHOW(BARRIER(2, 0));
    SHOW(BARRIER(8, 0));
    SHOW(BARRIER(32, 0));
    SHOW(BARRIER(512, 0));
    SHOW(BARRIER(4, 0));
    SHOW(BARRIER(2, 0));
    SHOW(BARRIER(512, 0));
    SHOW(BARRIER(16, 0));
    SHOW(BARRIER(8, 0));
    SHOW(BARRIER(512, 0));
    SHOW(BARRIER(8, 1));
    SHOW(BARRIER(3, 0));
    SHOW(BARRIER(1, 1));
    SHOW(BARRIER(0, 1));
}

int main(void)
{
    all_kinds();
    others();
    barriers();
    return 0;
}
