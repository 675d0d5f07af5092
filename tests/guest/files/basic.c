/* open, read, write, lseek, truncate, append, and what they refuse. */
#include "check.h"

int main(void)
{
    char buffer[64] = {0};
    int fd = MUST(open("f", O_RDWR | O_CREAT | O_EXCL, 0640));
    SHOW(open("f", O_RDWR | O_CREAT | O_EXCL, 0640));
    SHOW(write(fd, "hello world", 11));
    SHOW(lseek(fd, 0, SEEK_CUR));
    SHOW(lseek(fd, -5, SEEK_END));
    SHOW(read(fd, buffer, sizeof buffer));
    say("%s", buffer);
    SHOW(read(fd, buffer, sizeof buffer));
    SHOW(read(fd, NULL, 1));
    SHOW(lseek(fd, -100, SEEK_SET));
    SHOW(lseek(fd, 0, 99));
    SHOW(pread(fd, buffer, 3, 2));
    SHOW(pread(fd, buffer, 3, -1));
    SHOW(pwrite(fd, "XYZ", 3, 20));
    struct stat s;
    SHOW(fstat(fd, &s));
    say("mode %o size %ld links %ld", s.st_mode, (long)s.st_size, (long)s.st_nlink);
    SHOW(pread(fd, buffer, 9, 11));
    for (int i = 0; i < 9; i++)
        printf("%02x ", (unsigned char)buffer[i]);
    say("%s", "");
    SHOW(ftruncate(fd, 4));
    SHOW(lseek(fd, 0, SEEK_END));
    SHOW(ftruncate(fd, -1));
    SHOW(truncate("f", 6));
    SHOW(truncate("nothing", 6));
    SHOW(fstat(fd, &s));
    say("size %ld", (long)s.st_size);
    int a = MUST(open("f", O_WRONLY | O_APPEND));
    SHOW(write(a, "END", 3));
    SHOW(lseek(a, 0, SEEK_CUR));
    SHOW(lseek(a, 0, SEEK_SET));
    SHOW(write(a, "END", 3));
    SHOW(lseek(a, 0, SEEK_CUR));
    SHOW(read(a, buffer, 1));
    int r = MUST(open("f", O_RDONLY));
    SHOW(write(r, "x", 1));
    SHOW(ftruncate(r, 0));
    SHOW(write(r, NULL, 0));
    SHOW(read(r, (void *)8, 4));
    SHOW(close(r));
    SHOW(close(r));
    SHOW(read(r, buffer, 1));
    SHOW(write(-1, "x", 1));
    SHOW(open("f", O_RDONLY | O_DIRECTORY));
    SHOW(open(".", O_RDWR));
    SHOW(open("nothing", O_RDONLY));
    SHOW(open("f/x", O_RDONLY));
    SHOW(open("", O_RDONLY));
    SHOW(open((char *)8, O_RDONLY));
    SHOW(open("nothing/x", O_RDONLY | O_CREAT, 0600));
    int d = MUST(open(".", O_RDONLY));
    SHOW(read(d, buffer, 1));
    SHOW(open("f", O_RDONLY | O_TRUNC));
    SHOW(stat("f", &s));
    say("size %ld", (long)s.st_size);
    umask(077);
    SHOW(close(MUST(open("g", O_CREAT | O_WRONLY, 0666))));
    SHOW(stat("g", &s));
    say("mode %o", s.st_mode);
    SHOW(access("g", R_OK | W_OK));
    SHOW(access("g", 8));
    SHOW(faccessat(AT_FDCWD, "nothing", F_OK, 0));
    SHOW(fsync(fd));
    SHOW(fdatasync(fd));
    int p[2];
    MUST(pipe(p));
    SHOW(fsync(p[0]));
    SHOW(lseek(p[0], 0, SEEK_SET));
    return 0;
}
