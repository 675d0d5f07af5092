/* PROCMAP_QUERY on /proc/self/maps; clear_refs; reading directories; what smaps says of a mapping's properties. */
#include "check.h"

struct query {
    uint64_t size, flags, addr, start, end, vma_flags, page_size, offset, inode;
    uint32_t major, minor, name_size, id_size;
    uint64_t name, id;
};
#define QUERY _IOWR('f', 17, struct query)
enum { PAGE = 4096 };

static int maps;

static void ask(const char *what, void *addr, uint64_t flags, char *base)
{
    char name[256] = "";
    struct query q = {.size = sizeof q, .flags = flags, .addr = (uintptr_t)addr, .name_size = sizeof name,
                      .name = (uintptr_t)name};
    if (ioctl(maps, QUERY, &q) < 0)
        say("%s: %s", what, strerrorname_np(errno));
    else
        say("%s: %ld to %ld, flags %#lx, pages of %lu, offset %lu, file %d, name \"%s\" of %u", what,
            ((char *)q.start - base) / PAGE, ((char *)q.end - base) / PAGE, q.vma_flags, q.page_size,
            q.offset, q.inode != 0, name, q.name_size);
}

static void write_file(const char *name, const char *text)
{
    int fd = MUST(open(name, O_WRONLY));
    errno = 0;
    ssize_t n = write(fd, text, strlen(text));
    say("%s <- %s: %zd %s", name, text, n, n < 0 ? strerrorname_np(errno) : "");
    close(fd);
}

static void read_directory(const char *name)
{
    char b[16];
    int fd = MUST(open(name, O_RDONLY | O_DIRECTORY));
    printf("%s: ", name);
    SHOW(read(fd, b, sizeof b));
    close(fd);
}

int main(void)
{
    maps = MUST(open("/proc/self/maps", O_RDONLY));
    int fd = MUST(memfd_create("object", 0));
    MUST(ftruncate(fd, 4 * PAGE));
    char *p = mmap(NULL, 16 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(munmap(p, 16 * PAGE));
    mmap(p + 2 * PAGE, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    mmap(p + 4 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, PAGE);
    mmap(p + 8 * PAGE, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd, 2 * PAGE);
    ask("inside", p + 3 * PAGE + 5, 0, p);
    ask("start", p + 2 * PAGE, 0, p);
    ask("shared", p + 4 * PAGE, 0, p);
    ask("hole", p + 5 * PAGE, 0, p);
    ask("hole, or next", p + 5 * PAGE, 16, p);
    ask("next file", p + 2 * PAGE, 16 | 32, p);
    ask("next executable", p + 2 * PAGE, 16 | 4, p);
    ask("next shared", p + 2 * PAGE, 16 | 8, p);
    ask("not writable", p + 2 * PAGE, 2, p);
    ask("readable", p + 2 * PAGE, 1, p);
    ask("no file", p + 2 * PAGE, 32, p);
    ask("beyond", (void *)-4096, 16, p);
    ask("unknown flag", p + 2 * PAGE, 64, p);
    char name[4];
    struct query q = {.size = sizeof q, .addr = (uintptr_t)p + 4 * PAGE, .name_size = sizeof name,
                      .name = (uintptr_t)name};
    SHOW(ioctl(maps, QUERY, &q));
    q.name = 0;
    SHOW(ioctl(maps, QUERY, &q));
    q.name_size = 0;
    q.id = 1;
    SHOW(ioctl(maps, QUERY, &q));
    q.id = 0;
    q.size = 16;
    SHOW(ioctl(maps, QUERY, &q));
    q.size = 5000;
    SHOW(ioctl(maps, QUERY, &q));
    q.size = 24;
    q.start = 7;
    SHOW(ioctl(maps, QUERY, &q));
    say("not written: %lu", q.start);
    SHOW(ioctl(maps, QUERY, 8));
    SHOW(ioctl(maps, TCGETS, &q));

    write_file("/proc/self/clear_refs", "1");
    write_file("/proc/self/clear_refs", "3\n");
    write_file("/proc/self/clear_refs", "5");
    write_file("/proc/self/clear_refs", "6");
    write_file("/proc/self/clear_refs", "0");
    write_file("/proc/self/clear_refs", "x");
    write_file("/proc/self/comm", "one\ntwo");
    show_file("/proc/self/comm");
    write_file("/proc/self/comm", "a name that is too long");
    show_file("/proc/self/comm");
    SHOW(syscall(SYS_personality, 0x0040000));
    show_file("/proc/self/personality");
    struct stat before, after;
    MUST(stat("/proc/self/fd", &before));
    MUST(dup(1));
    MUST(stat("/proc/self/fd", &after));
    say("one more: %ld", after.st_size - before.st_size);
    read_directory("/proc/self");
    read_directory("/proc/self/fd");
    read_directory("/proc/self/task");
    read_directory("/proc/self/ns");
    return 0;
}
