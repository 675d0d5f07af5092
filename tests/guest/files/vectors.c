/* readv, writev and their positioned forms, with odd vectors. */
#include "check.h"
#include <limits.h>

int main(void)
{
    char a[4] = "abc", b[8] = "defghij", c[16] = {0}, d[16] = {0};
    int fd = MUST(open("v", O_RDWR | O_CREAT, 0600));
    struct iovec w[3] = {{a, 3}, {NULL, 0}, {b, 7}};
    SHOW(writev(fd, w, 3));
    struct iovec r[2] = {{c, 5}, {d, 16}};
    SHOW(lseek(fd, 0, SEEK_SET));
    SHOW(readv(fd, r, 2));
    say("%s %s", c, d);
    SHOW(preadv(fd, r, 2, 4));
    say("%.5s %.1s", c, d);
    SHOW(pwritev(fd, w, 3, 100));
    SHOW(lseek(fd, 0, SEEK_END));
    SHOW(readv(fd, r, 0));
    SHOW(readv(fd, r, -1));
    SHOW(readv(fd, r, IOV_MAX + 1));
    SHOW(readv(fd, (void *)8, 1));
    struct iovec huge[2] = {{c, SSIZE_MAX}, {d, SSIZE_MAX}};
    SHOW(writev(fd, huge, 2));
    struct iovec negative[1] = {{c, (size_t)-1}};
    SHOW(readv(fd, negative, 1));
    struct iovec bad[2] = {{a, 3}, {(void *)8, 4}};
    SHOW(writev(fd, bad, 2));
    SHOW(lseek(fd, 0, SEEK_CUR));
    SHOW(preadv2(fd, r, 2, 0, 0));
    SHOW(pwritev2(fd, w, 1, 0, RWF_APPEND));
    SHOW(lseek(fd, 0, SEEK_END));
    SHOW(preadv2(fd, r, 2, 0, 0x4000000));
    return 0;
}
