/* Holes, allocation and truncation. */
#include "check.h"

static void map(int fd, long size)
{
    long at = 0;
    while (at < size) {
        long data = lseek(fd, at, SEEK_DATA);
        if (data < 0) {
            say("no data after %ld: %s", at, strerrorname_np(errno));
            return;
        }
        long hole = lseek(fd, data, SEEK_HOLE);
        say("data %ld..%ld", data, hole);
        at = hole;
    }
}

int main(void)
{
    /* On a tmpfs, natively too: other file systems allocate as they like. */
    char name[] = "/dev/shm/sparseXXXXXX";
    int fd = MUST(mkstemp(name));
    unlink(name);
    struct stat s;
    SHOW(pwrite(fd, "a", 1, 0));
    SHOW(pwrite(fd, "b", 1, 1 << 20));
    SHOW(pwrite(fd, "c", 1, 1 << 24));
    map(fd, 1 << 24);
    fstat(fd, &s);
    say("size %ld blocks %ld", (long)s.st_size, (long)s.st_blocks);
    SHOW(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, 4096));
    SHOW(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 4096));
    SHOW(fallocate(fd, FALLOC_FL_KEEP_SIZE, 1 << 25, 8192));
    SHOW(fallocate(fd, 0, 8192, 8192));
    map(fd, 1 << 24);
    fstat(fd, &s);
    say("size %ld blocks %ld", (long)s.st_size, (long)s.st_blocks);
    SHOW(fallocate(fd, 0, -1, 1));
    SHOW(fallocate(fd, 0, 0, 0));
    SHOW(fallocate(fd, 0x1000, 0, 1));
    SHOW(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 4096));
    SHOW(fallocate(fd, 0, 1L << 62, 1L << 62));
    SHOW(ftruncate(fd, 100));
    map(fd, 100);
    SHOW(lseek(fd, 100, SEEK_DATA));
    SHOW(lseek(fd, 99, SEEK_HOLE));
    SHOW(lseek(fd, -1, SEEK_DATA));
    SHOW(lseek(fd, 0, 7));
    SHOW(ftruncate(fd, -1));
    char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    say("%d", p != MAP_FAILED);
    p[50] = 'm';
    char c;
    SHOW(pread(fd, &c, 1, 50));
    say("%c", c);
    SHOW(pwrite(fd, "w", 1, 51));
    say("%c", p[51]);
    /* Beyond the end within the page: seen by nobody. */
    p[200] = 'z';
    SHOW(ftruncate(fd, 300));
    SHOW(pread(fd, &c, 1, 200));
    /* More than what this prints. */
    struct rlimit r = {100000, RLIM_INFINITY};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &r);
    SHOW(pwrite(fd, "0123456789", 10, 99995));
    SHOW(pwrite(fd, "0123456789", 10, 100000));
    SHOW(ftruncate(fd, 100001));
    SHOW(ftruncate(fd, 100000));
    SHOW(fallocate(fd, 0, 0, 200000));
    signal(SIGXFSZ, SIG_DFL);
    pid_t pid = fork();
    if (pid == 0) {
        pwrite(fd, "x", 1, 200000);
        _exit(0);
    }
    int st;
    waitpid(pid, &st, 0);
    say("signal %d", WIFSIGNALED(st) ? WTERMSIG(st) : 0);
    return 0;
}
