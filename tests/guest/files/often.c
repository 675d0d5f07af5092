/* Calls on a descriptor that are made often, and then something changes what they give: the position, the attributes, the file behind the number. */
#include "often.h"
#include <sys/inotify.h>
#include <sys/xattr.h>

enum { OFTEN = 300 };
static char page[8192];
/* With lengths and addresses that compilers warn of. */
#define do_read(fd, at, len) syscall(SYS_read, fd, at, (long)(len))
#define do_write(fd, at, len) syscall(SYS_write, fd, at, (long)(len))

static int fresh(const char *name)
{
    int fd = MUST(open(name, O_RDWR | O_CREAT | O_TRUNC, 0644));
    MUST(write(fd, page, sizeof page));
    return fd;
}

static void often_seek(int fd)
{
    for (int i = 0; i < OFTEN; i++)
        if (lseek(fd, i, SEEK_SET) != i || lseek(fd, 1, SEEK_CUR) != i + 1)
            say("lseek %d went wrong", i);
}

static struct stat often_stat(int fd)
{
    struct stat s, t = {0};
    MUST(fstat(fd, &t));
    for (int i = 0; i < OFTEN; i++) {
        memset(&s, 0xff, sizeof s);
        if (fstat(fd, &s) || memcmp(&s, &t, sizeof s))
            say("fstat %d went wrong", i);
        memset(&s, 0xff, sizeof s);
        if (syscall(SYS_fstat, fd, &s) || memcmp(&s, &t, sizeof s))
            say("SYS_fstat %d went wrong", i);
    }
    return s;
}

static long where(int fd)
{
    char name[64], text[256] = "";
    snprintf(name, sizeof name, "/proc/self/fdinfo/%d", fd);
    int info = MUST(open(name, O_RDONLY));
    MUST(read(info, text, sizeof text - 1));
    close(info);
    return atol(strchr(text, '\t'));
}

static void positions(void)
{
    int fd = fresh("positions");
    char c[16];
    often_seek(fd);
    SHOW(where(fd));
    SHOW(lseek(fd, 0, SEEK_CUR));
    SHOW(lseek(fd, -1, SEEK_SET));
    SHOW(lseek(fd, -1000000, SEEK_CUR));
    SHOW(lseek(fd, INT64_MAX, SEEK_SET));
    SHOW(lseek(fd, 1, SEEK_CUR));
    SHOW(lseek(fd, 0, SEEK_CUR) == INT64_MAX);
    SHOW(lseek(fd, -10, SEEK_END));
    SHOW(lseek(fd, 0, 77));
    SHOW(lseek(fd, 0, SEEK_DATA));
    SHOW(read(fd, c, 4));
    SHOW(lseek(fd, 0, SEEK_CUR));
    /* By turns with what moves it. */
    lseek(fd, 0, SEEK_SET);
    for (int i = 0; i < OFTEN; i++) {
        if (lseek(fd, 3, SEEK_CUR) != i * 8 + 3 || read(fd, c, 5) != 5)
            say("lseek and read %d went wrong", i);
    }
    SHOW(lseek(fd, 0, SEEK_CUR));
    /* Only what moves it. */
    lseek(fd, 0, SEEK_SET);
    for (int i = 0; i < 100; i++)
        read(fd, c, 2);
    SHOW(lseek(fd, 0, SEEK_CUR));
    often_seek(fd);
    /* Another number of the same file, which goes on when the first one is gone. */
    int other = MUST(dup(fd));
    SHOW(lseek(other, 5, SEEK_CUR));
    often_seek(other);
    SHOW(lseek(fd, 0, SEEK_CUR));
    often_seek(fd);
    close(fd);
    SHOW(lseek(fd, 0, SEEK_CUR));
    SHOW(lseek(other, 0, SEEK_CUR));
    often_seek(other);
    /* Another file at the same number. */
    int second = fresh("second");
    lseek(second, 77, SEEK_SET);
    MUST(dup2(second, other));
    SHOW(lseek(other, 0, SEEK_CUR));
    often_seek(other);
    MUST(close_range(other, other, 0));
    SHOW(lseek(other, 0, SEEK_CUR));
    SHOW(lseek(second, 0, SEEK_CUR));
    /* A number that is the first one's modulo some power of two. */
    int far = MUST(fcntl(second, F_DUPFD, second + 64));
    int own = fresh("third");
    MUST(dup2(own, second + 128));
    for (int i = 0; i < OFTEN; i++) {
        lseek(second, i, SEEK_SET);
        lseek(second + 128, 2 * i, SEEK_SET);
        if (lseek(far, 0, SEEK_CUR) != i || lseek(own, 0, SEEK_CUR) != 2 * i)
            say("numbers %d went wrong", i);
    }
    SHOW(lseek(-1, 0, SEEK_SET));
    SHOW(lseek(1 << 20, 0, SEEK_SET));
    close_range(3, ~0U, 0);
}

static void processes(void)
{
    int fd = fresh("shared"), status;
    often_seek(fd);
    pid_t child = MUST(fork());
    if (!child) {
        long at = lseek(fd, 0, SEEK_CUR);
        often_seek(fd);
        lseek(fd, 1234, SEEK_SET);
        _exit(at == OFTEN ? 0 : 1);
    }
    MUST(waitpid(child, &status, 0));
    show_status("fork", status);
    SHOW(lseek(fd, 0, SEEK_CUR));
    often_seek(fd);
    /* One that is killed while it has the position. */
    child = MUST(fork());
    if (!child) {
        often_seek(fd);
        for (int i = 0; i < OFTEN; i++)
            lseek(fd, 4321, SEEK_SET);
        kill(getpid(), SIGKILL);
    }
    MUST(waitpid(child, &status, 0));
    show_status("killed", status);
    SHOW(lseek(fd, 0, SEEK_CUR));
    /* And one that executes a program. */
    child = MUST(fork());
    if (!child) {
        dup2(fd, 9);
        often_seek(9);
        lseek(9, 4000, SEEK_SET);
        execl("/bin/sh", "sh", "-c", "head -c 100 <&9 >/dev/null; exit 3", NULL);
        _exit(9);
    }
    MUST(waitpid(child, &status, 0));
    show_status("exec", status);
    SHOW(lseek(fd, 0, SEEK_CUR) > 4000);
    close(fd);
}

static int shared_fd;
static pthread_barrier_t turn;

static void *second_thread(void *unused)
{
    for (int i = 0; i < 20; i++) {
        pthread_barrier_wait(&turn);
        for (int k = 0; k < 40; k++)
            lseek(shared_fd, 1, SEEK_CUR);
        pthread_barrier_wait(&turn);
    }
    return unused;
}

static void *both(void *unused)
{
    for (int i = 0; i < 5000; i++)
        lseek(shared_fd, 1, SEEK_CUR);
    return unused;
}

static void threads(void)
{
    pthread_t t, u;
    shared_fd = fresh("threads");
    lseek(shared_fd, 0, SEEK_SET);
    pthread_barrier_init(&turn, NULL, 2);
    MUST(pthread_create(&t, NULL, second_thread, NULL));
    for (int i = 0; i < 20; i++) {
        for (int k = 0; k < 40; k++)
            lseek(shared_fd, 1, SEEK_CUR);
        pthread_barrier_wait(&turn);
        pthread_barrier_wait(&turn);
    }
    pthread_join(t, NULL);
    SHOW(lseek(shared_fd, 0, SEEK_CUR));
    lseek(shared_fd, 0, SEEK_SET);
    MUST(pthread_create(&t, NULL, both, NULL));
    MUST(pthread_create(&u, NULL, both, NULL));
    pthread_join(t, NULL);
    pthread_join(u, NULL);
    SHOW(lseek(shared_fd, 0, SEEK_CUR));
    close(shared_fd);
}

static int same(struct stat a, struct stat b)
{
    return !memcmp(&a, &b, sizeof a);
}

static void attributes(void)
{
    int fd = fresh("attributes");
    int other = MUST(open("attributes", O_RDWR));
    struct stat a = often_stat(fd), b;
#define CHANGED(how, field)                                                             \
    MUST(how);                                                                          \
    b = often_stat(fd);                                                                 \
    say(#how ": %s, " #field " %ld", same(a, b) ? "the same" : "changed", (long)b.field); \
    a = b
    CHANGED(write(other, page, 10), st_size);
    CHANGED(pwrite(other, page, 10, 9000), st_size);
    CHANGED(ftruncate(other, 5), st_size);
    CHANGED(truncate("attributes", 50), st_size);
    CHANGED(fallocate(other, 0, 0, 20000), st_size);
    CHANGED(fallocate(other, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 8192), st_blocks);
    CHANGED(chmod("attributes", 0600), st_mode);
    CHANGED(link("attributes", "linked"), st_nlink);
    CHANGED(rename("linked", "renamed"), st_nlink);
    CHANGED(unlink("renamed"), st_nlink);
    CHANGED(futimens(other, (struct timespec[]){{1, 2}, {3, 4}}), st_mtime);
    CHANGED(fsetxattr(other, "user.a", "b", 1, 0), st_nlink);
    CHANGED(read(other, page, 1), st_nlink);
    struct stat before = b;
    pid_t child = MUST(fork());
    if (!child)
        _exit(truncate("attributes", 777) || unlink("attributes"));
    MUST(waitpid(child, NULL, 0));
    b = often_stat(fd);
    say("another process: %s, %ld bytes, %ld names", same(before, b) ? "the same" : "changed", (long)b.st_size, (long)b.st_nlink);
    /* What is written through a mapping. */
    MUST(ftruncate(fd, 1 << 20));
    often_stat(fd);
    char *m = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    often_stat(fd);
    memset(m, 1, 1 << 20);
    SHOW(often_stat(fd).st_blocks);
    munmap(m, 1 << 20);
    /* Who asks. */
    struct stat *nowhere = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    SHOW(syscall(SYS_fstat, fd, nowhere));
    SHOW(syscall(SYS_fstat, fd, NULL));
    SHOW(syscall(SYS_fstat, fd, -4096L));
    SHOW(syscall(SYS_newfstatat, fd, nowhere, &b, AT_EMPTY_PATH));
    SHOW(syscall(SYS_newfstatat, fd, -4096L, &b, AT_EMPTY_PATH));
    SHOW(syscall(SYS_newfstatat, fd, "x", &b, AT_EMPTY_PATH));
    SHOW(syscall(SYS_newfstatat, fd, "", &b, 0));
    SHOW(syscall(SYS_newfstatat, fd, "", nowhere, AT_EMPTY_PATH));
    munmap(nowhere, 4096);
    close(fd);
    SHOW(fstat(fd, &b));
    close(other);
}

static void devices(void)
{
    int zero = MUST(open("/dev/zero", O_RDWR)), null = MUST(open("/dev/null", O_RDWR));
    int full = MUST(open("/dev/full", O_RDWR)), only = MUST(open("/dev/null", O_RDONLY));
    char *end = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(munmap(end + 4096, 4096));
    for (int i = 0; i < OFTEN; i++) {
        memset(page, 1, 100);
        if (read(zero, page, 50) != 50 || page[0] || page[49] || page[50] != 1 || read(null, page, 50) != 0 ||
            page[50] != 1 || write(null, page, 7) != 7 || write(zero, page, 8) != 8 || read(full, page + 50, 1) != 1 ||
            page[50] || write(full, page, 1) != -1 || read(only, page, 1) != 0 || write(only, page, 1) != -1)
            say("devices %d went wrong", i);
    }
    SHOW(do_read(zero, end, 4096));
    SHOW(do_read(zero, end, 8192));
    SHOW(do_read(zero, end + 4096, 1));
    SHOW(do_read(zero, NULL, 1));
    SHOW(do_read(zero, NULL, 0));
    SHOW(do_read(zero, (void *)-4096L, 1));
    SHOW(do_read(null, (void *)-4096L, 1));
    SHOW(do_write(null, NULL, 5));
    SHOW(do_write(null, (void *)-4096L, 5));
    SHOW(do_write(null, page, 1L << 33));
    SHOW(do_write(null, page, -1));
    SHOW(do_write(only, page, 1));
    SHOW(do_write(full, page, 1));
    char *large = mmap(NULL, 3 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(large, 1, 3 << 20);
    SHOW(read(zero, large, 3 << 20));
    SHOW(large[0] + large[(3 << 20) - 1]);
    /* Somebody watches now. */
    int watch = MUST(inotify_init1(IN_NONBLOCK));
    MUST(inotify_add_watch(watch, "/dev/zero", IN_ACCESS));
    read(zero, page, 1);
    char events[256];
    SHOW(read(watch, events, sizeof events));
    for (int i = 0; i < OFTEN; i++)
        read(zero, page, 1);
    SHOW(read(watch, events, sizeof events));
    close(watch);
    for (int i = 0; i < OFTEN; i++)
        write(null, page, 1);
    MUST(dup2(full, null));
    SHOW(write(null, page, 1));
    close(null);
    SHOW(write(null, page, 1));
    SHOW(read(zero, page, 1));
    close_range(3, ~0U, 0);
}

/* An id that is called something else from now on. */
static void identity(void)
{
    int status, fd = fresh("owned");
    pid_t child = MUST(fork());
    if (!child) {
        struct stat a = often_stat(fd);
        if (unshare(CLONE_NEWUSER))
            _exit(2);
        struct stat b = often_stat(fd);
        _exit(a.st_uid == geteuid() ? 3 : b.st_uid == a.st_uid && a.st_uid != 65534 ? 4 : 0);
    }
    MUST(waitpid(child, &status, 0));
    say("another user namespace: %s", WEXITSTATUS(status) == 4 ? "its owner is still shown" : "as it should be");
}

int main(void)
{
    /* A tmpfs on both sides. */
    char dir[] = "/dev/shm/often.XXXXXX";
    if (!mkdtemp(dir) || chdir(dir))
        return 1;
    warm(any_call);
    positions();
    processes();
    threads();
    attributes();
    devices();
    identity();
    for (const char **name = (const char *[]){"positions", "second", "third", "shared", "threads", "owned", NULL}; *name; name++)
        MUST(unlink(*name));
    MUST(rmdir(dir));
    return 0;
}
