/* Paths that are asked for again and again, and then something changes what there is to say: contents, names, modes, kinds, by whoever. */
#include "often.h"
#include <dirent.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <sys/xattr.h>

enum { OFTEN = 40 };
static char here[512];

static void ask_none(void)
{
    struct stat s;
    stat("none", &s);
    lstat("none", &s);
    access("none", F_OK);
    faccessat(AT_FDCWD, "none", R_OK, AT_EACCESS);
    syscall(SYS_stat, "none", &s);
}

/* The absolute form of a name; a few of them at a time. */
static const char *at(const char *name)
{
    static char names[8][1024];
    static int next;
    char *text = names[next++ % 8];
    snprintf(text, sizeof names[0], "%s/%s", here, name);
    return text;
}

/* All that is asked of a path. */
struct seen {
    struct stat by[3];
    int error[3];
    int access[8];
    int effective[8];
};

static int outcome(int result)
{
    return result == 0 ? 0 : errno;
}

enum { WAYS = 3 + 2 * 8 };

/* Asks in one of the ways. */
static void ask(const char *path, int way, struct seen *s)
{
    int mode = way - 3;
    if (way == 0)
        s->error[0] = outcome(stat(path, &s->by[0]));
    else if (way == 1)
        s->error[1] = outcome(lstat(path, &s->by[1]));
    else if (way == 2)
        s->error[2] = outcome(syscall(SYS_stat, path, &s->by[2]));
    else if (mode < 8)
        s->access[mode] = outcome(access(path, mode));
    else
        s->effective[mode - 8] = outcome(faccessat(AT_FDCWD, path, mode - 8, AT_EACCESS));
    /* Looking may change it. */
    if (S_ISLNK(s->by[1].st_mode))
        s->by[1].st_atim = (struct timespec){0, 0};
}

static struct seen look_at(const char *path)
{
    struct seen s;
    memset(&s, 0, sizeof s);
    for (int way = 0; way < WAYS; way++)
        ask(path, way, &s);
    return s;
}

/* The same by another way: what the name means, opened, or a path that nobody asked for before. */
static struct seen by_another_way(const char *path)
{
    static int count;
    char other[2048];
    char dots[64] = "";
    count++;
    for (int bit = 0; bit < 20; bit++)
        strcat(dots, count >> bit & 1 ? "/." : "/");
    snprintf(other, sizeof other, "%s%s", dots, path);
    return look_at(other);
}

static void show(const char *name, const struct seen *s)
{
    const struct stat *a = &s->by[0], *l = &s->by[1];
    if (s->error[0])
        printf("%s: %s", name, strerrorname_np(s->error[0]));
    else
        printf("%s: mode %o links %ld size %ld", name, a->st_mode, (long)a->st_nlink,
               S_ISDIR(a->st_mode) ? -1L : (long)a->st_size);
    if (s->error[1])
        printf("; itself %s", strerrorname_np(s->error[1]));
    else
        printf("; itself %o", l->st_mode);
    printf("; access");
    for (int mode = 0; mode < 8; mode++)
        printf(" %s", s->access[mode] ? strerrorname_np(s->access[mode]) : "0");
    putchar('\n');
    fflush(stdout);
}

/* Looks, sees what another way shows, and makes it a habit. */
static void often(const char *name)
{
    const char *path = at(name);
    struct seen first = look_at(path), again = by_another_way(path);
    if (memcmp(&first, &again, sizeof first)) {
        say("%s: by another way it is different", name);
        show(name, &again);
    }
    show(name, &first);
    for (int i = 0; i < OFTEN * WAYS; i++) {
        ask(path, i / OFTEN, &again);
        if (memcmp(&first, &again, sizeof first)) {
            say("%s: changed by itself", name);
            show(name, &again);
            break;
        }
    }
}

static void append(void)
{
    int fd = MUST(open("file", O_WRONLY | O_APPEND));
    MUST(write(fd, "some more", 9));
    close(fd);
}
static void cut(void) { MUST(truncate("file", 3)); }
static void lock_up(void) { MUST(chmod("file", 0)); }
static void unlock(void) { MUST(chmod("file", 0754)); }
static void make_old(void)
{
    struct timespec t[2] = {{1000, 1}, {2000, 2}};
    MUST(utimensat(AT_FDCWD, "file", t, 0));
}
static void make_link(void) { MUST(link("file", "second")); }
static void drop_link(void) { MUST(unlink("second")); }
static void mark(void) { setxattr("file", "user.mark", "x", 1, 0); }
static void read_it(void)
{
    char c[4];
    int fd = MUST(open("file", O_RDONLY));
    MUST(read(fd, c, 4));
    close(fd);
}
static void by_map(void)
{
    int fd = MUST(open("file", O_RDWR));
    MUST(ftruncate(fd, 8192));
    char *m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    m[4096] = 1;
    munmap(m, 8192);
    close(fd);
}
static void by_descriptor(void)
{
    int fd = MUST(open("file", O_RDWR));
    MUST(fchmod(fd, 0640));
    MUST(ftruncate(fd, 77));
    MUST(pwrite(fd, "x", 1, 99));
    MUST(futimens(fd, NULL));
    close(fd);
}
static void away(void) { MUST(rename("file", "elsewhere")); }
static void back(void) { MUST(rename("elsewhere", "file")); }
static void gone(void) { MUST(unlink("file")); }
static void anew(void) { put_file("file", "new"); }
static void over(void)
{
    put_file("other", "another one");
    MUST(rename("other", "file"));
}

static void contents(int who)
{
    say("contents by %d", who);
    put_file("file", "content");
    void (*all[])(void) = {append,  cut,    lock_up, unlock,        make_old, make_link, drop_link, mark,
                           read_it, by_map, cut,     by_descriptor, away,     back,      gone,      anew,
                           over};
    often("file");
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        by_whom(who, all[i]);
        printf("%zu ", i);
        often("file");
    }
    unlink("file");
}

static void put_none(void) { put_file("name", ""); }
static void drop_none(void) { MUST(unlink("name")); }
static void put_dir(void) { MUST(mkdir("name", 0711)); }
static void put_below(void) { MUST(mkdir("name/below", 0700)); }
static void drop_below(void) { MUST(rmdir("name/below")); }
static void drop_dir(void) { MUST(rmdir("name")); }
static void put_fifo(void) { MUST(mkfifo("name", 0622)); }
static void put_link(void) { MUST(symlink("nowhere", "name")); }
static void put_loop(void) { MUST(symlink("name", "name")); }
static void put_link_to_dir(void) { MUST(symlink("target", "name")); }
static void put_second_link(void) { MUST(symlink("link", "name")); MUST(symlink("target", "link")); }
static void drop_second_link(void) { MUST(unlink("link")); MUST(unlink("name")); }
static void put_absolute(void) { MUST(symlink(at("target"), "name")); }
static void put_target(void) { MUST(mkdir("target", 0755)); }
static void put_in_target(void) { MUST(mkdir("target/below", 0700)); }
static void drop_in_target(void) { MUST(rmdir("target/below")); }
static void drop_target(void) { MUST(rmdir("target")); }
static void put_socket(void)
{
    int s = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    struct sockaddr_un a = {AF_UNIX, "name"};
    MUST(bind(s, (struct sockaddr *)&a, sizeof a));
    close(s);
}
static void swap_in(void)
{
    put_file("swapped", "swap");
    MUST(renameat2(AT_FDCWD, "swapped", AT_FDCWD, "name", RENAME_EXCHANGE));
}
static void drop_swapped(void) { rmdir("swapped"); }
static void linked(void)
{
    put_file("origin", "o");
    MUST(link("origin", "name"));
    MUST(unlink("origin"));
}

static void names(int who)
{
    say("names by %d", who);
    void (*all[])(void) = {put_none,        drop_none,     put_dir,        put_below,    drop_below,   drop_dir,
                           put_fifo,        drop_none,     put_link,       drop_none,    put_loop,     drop_none,
                           put_link_to_dir, put_target,    put_in_target,  drop_in_target, drop_target, drop_none,
                           put_second_link, put_target,    put_in_target,  drop_in_target, drop_target, drop_second_link,
                           put_absolute,    put_target,    put_in_target,  drop_in_target, drop_target, drop_none,
                           put_socket,      drop_none,     put_dir,        swap_in,      drop_swapped, drop_none,
                           linked,          drop_none};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        printf("%zu ", i);
        often("name");
        often("name/below");
        often("name/");
        by_whom(who, all[i]);
    }
    often("name");
}

static void move_up(void) { MUST(rename("a/b/c", "a/c")); }
static void move_down(void) { MUST(rename("a/c", "a/b/c")); }
static void move_top(void) { MUST(rename("a", "z")); }
static void move_top_back(void) { MUST(rename("z", "a")); }
static void close_middle(void) { MUST(chmod("a/b", 0600)); }
static void open_middle(void) { MUST(chmod("a/b", 0755)); }
static void fill(void) { put_file("a/b/c/more", ""); }
static void unfill(void) { MUST(unlink("a/b/c/more")); }

static void directories(int who)
{
    say("directories by %d", who);
    MUST(mkdir("a", 0755));
    MUST(mkdir("a/b", 0755));
    MUST(mkdir("a/b/c", 0755));
    put_file("a/b/c/deep", "deep");
    void (*all[])(void) = {move_up,      move_down,   move_top, move_top_back,
                           close_middle, open_middle, fill,     unfill};
    for (size_t i = 0; i <= sizeof all / sizeof *all; i++) {
        printf("%zu ", i);
        often("a/b/c/deep");
        often("a/b/c");
        often("a/b/../b/./c//deep");
        often("a/b/c/deep/");
        often("a/b/c/deep/x");
        often("a/c/deep");
        often("z/b/c/deep");
        if (i < sizeof all / sizeof *all)
            by_whom(who, all[i]);
    }
    MUST(unlink("a/b/c/deep"));
    MUST(rmdir("a/b/c"));
    MUST(rmdir("a/b"));
    MUST(rmdir("a"));
}

/* What is wrong with the arguments, of a path that is known. */
static void arguments(void)
{
    put_file("file", "");
    for (int i = 0; i < OFTEN; i++)
        look_at(at("file"));
    const char *path = at("file");
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(pages + 4096, 4096, PROT_NONE);
    char *last = pages + 4096 - strlen(path) - 1;
    strcpy(last, path);
    struct stat s;
    SHOW(stat(last, &s));
    SHOW(stat(last + 1, &s));
    memset(last, 'x', strlen(path) + 1);
    SHOW(stat(last, &s));
    SHOW(stat(NULL, &s));
    SHOW(stat("", &s));
    SHOW(stat(path, NULL));
    SHOW(stat(path, (void *)(pages + 4096 - 100)));
    SHOW(stat(path, (void *)(pages + 4096 - 144)));
    SHOW(stat(path, (void *)-1));
    SHOW(syscall(SYS_access, path, 8));
    SHOW(syscall(SYS_access, path, -1));
    SHOW(syscall(SYS_faccessat, 12345, path, 0));
    SHOW(syscall(SYS_faccessat2, 12345, path, 0, 1));
    SHOW(syscall(SYS_faccessat2, 12345, path, 0, AT_SYMLINK_NOFOLLOW));
    SHOW(syscall(SYS_newfstatat, 12345, path, &s, 0));
    SHOW(syscall(SYS_newfstatat, 12345, path, &s, AT_NO_AUTOMOUNT));
    SHOW(syscall(SYS_newfstatat, 12345, path, &s, AT_EMPTY_PATH));
    SHOW(syscall(SYS_newfstatat, 12345, path, &s, 1));
    SHOW(syscall(SYS_newfstatat, 12345, "file", &s, 0));
    SHOW(syscall(SYS_newfstatat, AT_FDCWD, "file", &s, 0));
    MUST(unlink("file"));
    /* Longer than anybody keeps, and than a name may be. */
    char deep[4096] = "";
    for (int i = 0; i < 40; i++)
        strcat(deep, "./././././");
    strcat(deep, "none");
    often(deep);
    memset(deep, 'n', 256);
    deep[256] = 0;
    often(deep);
    munmap(pages, 8192);
}

/* A file that comes and goes between two names: whoever knows where it was put sees it there. */
static volatile long moves, over_now;

static void *mover(void *unused)
{
    (void)unused;
    while (!over_now) {
        moves++;
        MUST(rename(moves & 2 ? "second" : "first", moves & 2 ? "first" : "second"));
        moves++;
        usleep(moves % 100);
    }
    return NULL;
}

static void moving(void)
{
    moves = over_now = 0;
    put_file("first", "f");
    const char *first = at("first"), *second = at("second");
    pthread_t t;
    pthread_create(&t, NULL, mover, NULL);
    long looks = 0, wrong = 0, steady = 0;
    double until = now() + 1;
    while (now() < until) {
        struct stat s;
        long before = moves;
        int a = stat(first, &s), b = stat(second, &s);
        looks++;
        if (before != moves || before & 1)
            continue;
        steady++;
        wrong += (a == 0) != !(before & 2) || (b == 0) != !!(before & 2);
    }
    over_now = 1;
    pthread_join(t, NULL);
    say("moved: %s, %ld wrong", looks > 1000 && steady > 100 ? "enough looks" : "too few looks", wrong);
    unlink("first");
    unlink("second");
}

/* A file that grows by another process's hand. */
static void growing(void)
{
    int fd = MUST(open("grows", O_RDWR | O_CREAT | O_TRUNC, 0644));
    volatile long *size = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child = MUST(fork());
    if (child == 0) {
        for (long n = 1; n <= 3000; n++) {
            if (n % 3)
                MUST(ftruncate(fd, n));
            else
                MUST(write(fd, "x", lseek(fd, n - 1, SEEK_SET) == n - 1));
            *size = n;
            usleep(n % 300);
        }
        _exit(0);
    }
    const char *path = at("grows");
    long wrong = 0;
    while (*size < 3000) {
        struct stat s;
        long least = *size;
        MUST(stat(path, &s));
        wrong += s.st_size < least;
    }
    int status;
    MUST(waitpid(child, &status, 0));
    struct stat s;
    MUST(stat(path, &s));
    say("grown to %ld, %ld wrong", (long)s.st_size, wrong);
    unlink("grows");
}

/* A filter sees calls that were answered before. */
static void filtered(void)
{
    put_file("file", "");
    pid_t child = MUST(fork());
    if (child == 0) {
        often("file");
        struct sock_filter code[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ, SYS_newfstatat, 0, 1),
            BPF_STMT(BPF_RET, SECCOMP_RET_ERRNO | EXDEV),
            BPF_JUMP(BPF_JMP | BPF_JEQ, SYS_access, 0, 1),
            BPF_STMT(BPF_RET, SECCOMP_RET_ERRNO | EBADF),
            BPF_STMT(BPF_RET, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = {sizeof code / sizeof *code, code};
        MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
        struct seen s = look_at(at("file"));
        show("filtered", &s);
        _exit(0);
    }
    int status;
    MUST(waitpid(child, &status, 0));
    MUST(unlink("file"));
}

int main(void)
{
    MUST(getcwd(here, sizeof here) ? 0 : -1);
    umask(022);
    warm(ask_none);
    for (int who = 0; who < 3; who++) {
        contents(who);
        names(who);
        directories(who);
    }
    arguments();
    moving();
    growing();
    filtered();
    return 0;
}
