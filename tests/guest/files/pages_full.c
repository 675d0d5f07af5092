/* Small files that are read and written often, on a file system that is full: what has no memory yet gets none. */
//@ root=only
#include "often.h"
#include <sys/mount.h>
#include <sys/statvfs.h>

enum { OFTEN = 1100, PAGE = 4096, PAGES = 16 };
static char page[PAGE], back[PAGE];

static void use(int fd)
{
    for (int i = 0; i < OFTEN; i++) {
        memset(page, i, PAGE);
        if (pwrite(fd, page, 200, i % 3000) != 200 || pread(fd, back, 200, i % 3000) != 200 || memcmp(page, back, 200))
            say("%d went wrong", i);
    }
}

static long left(void)
{
    struct statvfs v;
    MUST(statvfs("mnt", &v));
    return v.f_bfree;
}

int main(void)
{
    struct stat s;
    MUST(unshare(CLONE_NEWNS));
    MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    MUST(mkdir("mnt", 0755));
    MUST(mount("t", "mnt", "tmpfs", 0, "size=64k"));
    int fd = MUST(open("mnt/file", O_RDWR | O_CREAT, 0644));
    int big = MUST(open("mnt/big", O_RDWR | O_CREAT, 0644));
    warm(any_call);
    MUST(pwrite(fd, page, PAGE, 0));
    MUST(ftruncate(fd, 4 * PAGE));
    use(fd);
    SHOW(left());
    /* All that is left to others. */
    long n = 0;
    while (pwrite(big, page, PAGE, n * PAGE) == PAGE)
        n++;
    SHOW(n);
    SHOW(left());
    use(fd);
    for (int i = 1; i < 4; i++) {
        SHOW(pwrite(fd, page, PAGE, i * PAGE));
        SHOW(pwrite(fd, page, 1, i * PAGE + 7));
        SHOW(pread(fd, back, PAGE, i * PAGE));
    }
    SHOW(pwrite(fd, page, 2 * 100, PAGE - 100));
    SHOW(pwrite(fd, page, PAGE, 4 * PAGE));
    MUST(fstat(fd, &s));
    SHOW(s.st_blocks);
    SHOW(left());
    /* One page is free again, and taken by the hole. */
    MUST(ftruncate(big, (n - 1) * PAGE));
    use(fd);
    SHOW(pwrite(fd, page, PAGE, PAGE));
    use(fd);
    SHOW(pwrite(fd, page, PAGE, 2 * PAGE));
    SHOW(left());
    /* What was there is none any more. */
    MUST(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, PAGE));
    MUST(pwrite(big, page, PAGE, (n - 1) * PAGE));
    SHOW(pwrite(fd, page, PAGE, PAGE));
    use(fd);
    SHOW(pwrite(fd, page, PAGE, PAGE));
    MUST(ftruncate(fd, 100));
    MUST(ftruncate(fd, 4 * PAGE));
    SHOW(pwrite(fd, page, PAGE, PAGE));
    use(fd);
    SHOW(left());
    MUST(ftruncate(fd, 0));
    SHOW(left());
    return 0;
}
