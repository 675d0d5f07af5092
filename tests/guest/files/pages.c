/* Small files that are read and written often, by place and in turn, and everything that makes such a call mean something else than the one before. */
#include "often.h"
#include <sys/file.h>
#include <sys/inotify.h>

enum { OFTEN = 1100, SIZE = 3 * 4096, SLACK = 20 * 1000 * 1000 };
static unsigned char page[SIZE], back[SIZE];
/* With lengths and addresses that compilers warn of. */
#define do_pread(fd, to, len, at) syscall(SYS_pread64, fd, to, (long)(len), (long)(at))
#define do_pwrite(fd, from, len, at) syscall(SYS_pwrite64, fd, from, (long)(len), (long)(at))

static void fill(unsigned char *to, int seed)
{
    for (int i = 0; i < SIZE; i++)
        to[i] = (i * 7 + i / 251 + seed) % 253;
}

static int fresh(const char *name)
{
    int fd = MUST(open(name, O_RDWR | O_CREAT | O_TRUNC, 0644));
    fill(page, 1);
    MUST(write(fd, page, SIZE));
    return fd;
}

static void often_pread(int fd)
{
    for (int i = 0; i < OFTEN; i++) {
        int at = i * 13 % 5000, len = 1 + i * 17 % 4096;
        memset(back, 0xee, sizeof back);
        if (pread(fd, back, len, at) != len || memcmp(back, page + at, len) || back[len] != 0xee)
            say("pread %d went wrong", i);
    }
}

static void often_pwrite(int fd)
{
    for (int i = 0; i < OFTEN; i++) {
        int at = i * 13 % 5000, len = 1 + i * 17 % 4096;
        memset(page + at, i, len);
        if (pwrite(fd, page + at, len, at) != len)
            say("pwrite %d went wrong", i);
    }
    memset(back, 0xee, sizeof back);
    if (pread(fd, back, SIZE, 0) != SIZE || memcmp(back, page, SIZE))
        say("pwrite: something else is there");
}

static void often_read(int fd)
{
    lseek(fd, 0, SEEK_SET);
    for (int i = 0; i < OFTEN; i++)
        if (read(fd, back, 8) != 8 || memcmp(back, page + i * 8, 8))
            say("read %d went wrong", i);
    SHOW(lseek(fd, 0, SEEK_CUR));
}

/* No matter what comes of it. */
static void use(int fd)
{
    for (int i = 0; i < OFTEN; i++) {
        do_pwrite(fd, page, 8, 0);
        do_pread(fd, back, 8, 0);
    }
}

static void contents(void)
{
    int fd = fresh("file"), copy;
    often_pread(fd);
    often_pwrite(fd);
    often_pread(fd);
    often_read(fd);
    SHOW(do_pread(fd, back, 100, SIZE));
    SHOW(do_pread(fd, back, 100, SIZE - 40));
    SHOW(do_pread(fd, back, 100, SIZE + 40));
    SHOW(do_pread(fd, back, 1, -1));
    SHOW(do_pwrite(fd, page, 1, -1));
    SHOW(do_pread(fd, back, 1, INT64_MAX));
    SHOW(do_pwrite(fd, page, 1, INT64_MAX));
    SHOW(do_pread(fd, back, 0, 0));
    SHOW(do_pwrite(fd, page, 0, 0));
    /* Bad and half bad buffers. */
    char *end = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(munmap(end + 4096, 4096));
    SHOW(do_pread(fd, NULL, 1, 0));
    SHOW(do_pread(fd, -4096L, 1, 0));
    SHOW(do_pread(fd, end + 4096, 10, 0));
    SHOW(do_pread(fd, end + 4090, 10, 0));
    SHOW(do_pread(fd, end, 4096, 0));
    SHOW(memcmp(end, page, 4096));
    SHOW(do_pwrite(fd, NULL, 1, 0));
    SHOW(do_pwrite(fd, -4096L, 1, 0));
    SHOW(do_pwrite(fd, end + 4096, 10, 0));
    SHOW(do_pwrite(fd, end + 4090, 10, 0));
    mprotect(end, 4096, PROT_READ);
    SHOW(do_pread(fd, end, 10, 0));
    SHOW(do_pwrite(fd, end, 10, 0));
    mprotect(end, 4096, PROT_NONE);
    SHOW(do_pwrite(fd, end, 10, 0));
    munmap(end, 4096);
    MUST(pwrite(fd, page, SIZE, 0));
    /* Into a mapping of the same file, and from it. */
    unsigned char *m = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    use(fd);
    SHOW(do_pread(fd, m + 4096, 100, 0));
    SHOW(memcmp(m + 4096, page, 100));
    SHOW(do_pwrite(fd, m + 4096, 100, 8192));
    SHOW(memcmp(m + 8192, page, 100));
    m[5] = 77;
    SHOW(do_pread(fd, back, 6, 0));
    SHOW(back[5]);
    SHOW(do_pwrite(fd, "x", 1, 5));
    SHOW(m[5]);
    munmap(m, SIZE);
    /* Only for reading, only for writing. */
    fill(page, 1);
    MUST(pwrite(fd, page, SIZE, 0));
    int in = MUST(open("file", O_RDONLY)), out = MUST(open("file", O_WRONLY));
    often_pread(in);
    SHOW(do_pwrite(in, page, 1, 0));
    use(out);
    SHOW(do_pread(out, back, 1, 0));
    often_pread(in);
    often_pread(fd);
    /* Numbers that change hands. */
    copy = MUST(dup(fd));
    often_pwrite(copy);
    close(fd);
    SHOW(do_pread(fd, back, 1, 0));
    SHOW(do_pwrite(fd, page, 1, 0));
    often_pread(copy);
    int other = fresh("other");
    often_pwrite(other);
    MUST(dup2(other, copy));
    often_pread(copy);
    MUST(ftruncate(other, 0));
    SHOW(do_pread(copy, back, 1, 0));
    close_range(3, ~0U, 0);
    SHOW(do_pread(copy, back, 1, 0));
}

static int all_zero(int from, int to)
{
    for (int i = from; i < to; i++)
        if (back[i])
            return 0;
    return 1;
}

static void sizes(void)
{
    int fd = fresh("file"), other = MUST(open("file", O_RDWR));
    struct stat s;
    use(fd);
    MUST(ftruncate(other, 5000));
    SHOW(do_pread(fd, back, SIZE, 0));
    SHOW(do_pread(fd, back, 100, 4990));
    SHOW(do_pread(fd, back, 1, 5000));
    use(fd);
    MUST(truncate("file", SIZE));
    SHOW(do_pread(fd, back, SIZE, 0));
    SHOW(all_zero(5000, SIZE));
    use(fd);
    MUST(ftruncate(other, 0));
    SHOW(do_pread(fd, back, 1, 0));
    SHOW(do_pwrite(fd, page, 10, 4090));
    MUST(fstat(fd, &s));
    SHOW(s.st_size);
    use(fd);
    close(MUST(open("file", O_RDWR | O_TRUNC)));
    SHOW(do_pread(fd, back, 1, 0));
    /* It grows while it is used. */
    for (int i = 0; i < OFTEN; i++) {
        if (do_pwrite(fd, page, 64, i * 64) != 64 || do_pread(fd, back, 64, i * 32) != 64)
            say("growing %d went wrong", i);
    }
    MUST(fstat(fd, &s));
    SHOW(s.st_size);
    for (int i = 0; i < OFTEN; i++)
        if (write(other, page, 100) != 100 || do_pread(fd, back, 100, i * 100) != 100 || memcmp(back, page, 100))
            say("written %d went wrong", i);
    /* Holes stay holes. */
    MUST(ftruncate(fd, 0));
    MUST(ftruncate(fd, SIZE));
    MUST(do_pwrite(fd, page, 4096, 4096));
    for (int i = 0; i < OFTEN; i++)
        do_pread(fd, back, SIZE, 0);
    MUST(fstat(fd, &s));
    SHOW(s.st_blocks);
    SHOW(lseek(fd, 0, SEEK_DATA));
    use(fd);
    MUST(fstat(fd, &s));
    SHOW(s.st_blocks);
    fill(page, 3);
    MUST(do_pwrite(fd, page, SIZE, 0));
    often_pread(fd);
    MUST(fallocate(other, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096));
    SHOW(do_pread(fd, back, SIZE, 0));
    SHOW(all_zero(4096, 8192));
    SHOW(memcmp(back, page, 4096));
    use(fd);
    MUST(fstat(fd, &s));
    SHOW(s.st_blocks);
    /* Writes that go to the end. */
    MUST(pwrite(fd, page, SIZE, 0));
    use(fd);
    SHOW(fcntl(fd, F_SETFL, O_APPEND));
    SHOW(do_pwrite(fd, page, 10, 0));
    use(fd);
    MUST(fstat(fd, &s));
    SHOW(s.st_size);
    SHOW(fcntl(fd, F_SETFL, 0));
    SHOW(do_pwrite(fd, page, 10, 0));
    use(fd);
    MUST(fstat(fd, &s));
    SHOW(s.st_size);
    /* A limit. */
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit old, limit;
    MUST(getrlimit(RLIMIT_FSIZE, &old));
    limit = old;
    limit.rlim_cur = 4;
    MUST(setrlimit(RLIMIT_FSIZE, &limit));
    long within = do_pwrite(fd, page, 8, 0), beyond = do_pwrite(fd, page, 8, 4);
    use(fd);
    long again = do_pwrite(fd, page, 8, 4096), reading = do_pread(fd, back, 8, 4);
    MUST(setrlimit(RLIMIT_FSIZE, &old));
    say("limited: %ld %ld %ld %ld", within, beyond, again, reading);
    SHOW(do_pwrite(fd, page, 8, 4));
    close_range(3, ~0U, 0);
}

static int64_t ns(struct timespec t)
{
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static int64_t wall(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return ns(t);
}

static struct stat of(const char *name)
{
    struct stat s;
    MUST(stat(name, &s));
    return s;
}

static void *stat_elsewhere(void *s)
{
    *(struct stat *)s = of("file");
    return NULL;
}

/* Coarse clocks may be some milliseconds behind. */
static void times(void)
{
    int fd = fresh("file"), other = MUST(open("file", O_RDWR)), early = 0, late = 0, back_in_time = 0, apart = 0;
    int64_t last = 0;
    struct stat s, t;
    use(fd);
    for (int i = 0; i < 60; i++) {
        int64_t from = wall();
        MUST(do_pwrite(fd, page, 10, i));
        int64_t to = wall();
        if (i % 3 == 0)
            s = of("file");
        else if (i % 3 == 1)
            MUST(fstat(i % 2 ? fd : other, &s));
        else {
            pthread_t thread;
            MUST(pthread_create(&thread, NULL, stat_elsewhere, &s));
            pthread_join(thread, NULL);
        }
        early += ns(s.st_mtim) < from - SLACK;
        late += ns(s.st_mtim) > to;
        apart += ns(s.st_mtim) != ns(s.st_ctim);
        back_in_time += ns(s.st_mtim) < last;
        last = ns(s.st_mtim);
        if (i % 10 == 0)
            pause_ms(5);
    }
    say("%d too early, %d too late, %d back in time, %d that differ", early, late, back_in_time, apart);
    /* Many writes, seen once: the last one counts. */
    for (int i = 0; i < 4; i++) {
        use(fd);
        pause_ms(30);
        int64_t from = wall();
        do_pwrite(fd, page, 10, 0);
        int64_t to = wall();
        pause_ms(30);
        pid_t child = MUST(fork());
        if (!child) {
            s = of("file");
            _exit(ns(s.st_mtim) < from - SLACK || ns(s.st_mtim) > to);
        }
        int status;
        MUST(waitpid(child, &status, 0));
        show_status("seen by a child", status);
    }
    /* Reading counts once after each write. */
    use(fd);
    pause_ms(30);
    do_pwrite(fd, page, 10, 0);
    pause_ms(30);
    do_pread(fd, back, 10, 0);
    int64_t read_by = wall();
    pause_ms(30);
    for (int i = 0; i < OFTEN; i++)
        do_pread(fd, back, 10, 0);
    s = of("file");
    SHOW(ns(s.st_atim) > ns(s.st_mtim));
    SHOW(ns(s.st_atim) > read_by);
    pause_ms(30);
    do_pread(fd, back, 10, 0);
    t = of("file");
    SHOW(ns(t.st_atim) == ns(s.st_atim));
    /* Somebody else writes: the next read counts. */
    pause_ms(30);
    do_pwrite(other, page, 10, 0);
    t = of("file");
    SHOW(ns(t.st_atim) == ns(s.st_atim));
    SHOW(ns(t.st_mtim) > ns(s.st_mtim));
    pause_ms(30);
    do_pread(fd, back, 10, 0);
    t = of("file");
    SHOW(ns(t.st_atim) > ns(t.st_mtim));
    /* Times that are set. */
    use(fd);
    MUST(futimens(other, (struct timespec[]){{11, 12}, {13, 14}}));
    t = of("file");
    SHOW(ns(t.st_atim));
    SHOW(ns(t.st_mtim));
    do_pread(fd, back, 10, 0);
    t = of("file");
    SHOW(ns(t.st_atim) > 100000000000);
    SHOW(ns(t.st_mtim));
    do_pwrite(fd, back, 10, 0);
    t = of("file");
    SHOW(ns(t.st_mtim) > 100000000000);
    /* What comes before the end of a loan is seen after it. */
    use(fd);
    MUST(futimens(other, (struct timespec[]){{11, 12}, {13, 14}}));
    use(fd);
    close(fd);
    t = of("file");
    SHOW(ns(t.st_mtim) > 100000000000);
    /* O_NOATIME. */
    fd = MUST(open("file", O_RDWR | O_NOATIME));
    use(fd);
    MUST(futimens(other, (struct timespec[]){{11, 12}, {13, 14}}));
    for (int i = 0; i < OFTEN; i++)
        do_pread(fd, back, 10, 0);
    t = of("file");
    SHOW(ns(t.st_atim));
    close_range(3, ~0U, 0);
}

static void others(void)
{
    int fd = fresh("file"), status, copy;
    struct stat s;
    /* A child that writes, by what it inherited and by its own. */
    use(fd);
    pid_t child = MUST(fork());
    if (!child) {
        fill(page, 9);
        for (int i = 0; i < OFTEN; i++)
            do_pwrite(fd, page, SIZE, 0);
        often_pread(fd);
        often_pread(MUST(open("file", O_RDONLY)));
        _exit(0);
    }
    MUST(waitpid(child, &status, 0));
    show_status("child", status);
    fill(page, 9);
    often_pread(fd);
    /* One that is killed while it writes. */
    child = MUST(fork());
    if (!child)
        for (;;)
            do_pwrite(fd, page, SIZE, 0);
    pause_ms(50);
    kill(child, SIGKILL);
    MUST(waitpid(child, &status, 0));
    show_status("killed", status);
    often_pread(fd);
    often_pwrite(fd);
    /* By turns. */
    int there[2], here[2];
    char c = 0;
    MUST(pipe(there));
    MUST(pipe(here));
    child = MUST(fork());
    if (!child) {
        for (int i = 0; i < 50; i++) {
            MUST(read(there[0], &c, 1));
            for (int k = 0; k < 150; k++) {
                long n;
                if (do_pread(fd, &n, 8, 4096) != 8)
                    _exit(1);
                n++;
                if (do_pwrite(fd, &n, 8, 4096) != 8)
                    _exit(2);
            }
            MUST(write(here[1], &c, 1));
        }
        _exit(0);
    }
    long n = 0;
    MUST(do_pwrite(fd, &n, 8, 4096));
    for (int i = 0; i < 50; i++) {
        MUST(write(there[1], &c, 1));
        MUST(read(here[0], &c, 1));
        for (int k = 0; k < 150; k++) {
            MUST(do_pread(fd, &n, 8, 4096));
            n++;
            MUST(do_pwrite(fd, &n, 8, 4096));
        }
    }
    MUST(waitpid(child, &status, 0));
    show_status("by turns", status);
    SHOW(n);
    /* A name that goes, and comes again for another file. */
    use(fd);
    MUST(unlink("file"));
    often_pwrite(fd);
    MUST(fstat(fd, &s));
    SHOW(s.st_nlink);
    copy = fresh("file");
    often_pwrite(copy);
    MUST(ftruncate(fd, 0));
    often_pread(copy);
    /* Set-user-ID: kept or not as ever. */
    use(copy);
    MUST(chmod("file", 06755));
    do_pwrite(copy, page, 10, 0);
    s = of("file");
    SHOW(s.st_mode);
    MUST(chmod("file", 0644));
    /* Who has no right any more may go on. */
    use(copy);
    MUST(chmod("file", 0));
    SHOW(do_pwrite(copy, page, 10, 0));
    use(copy);
    SHOW(do_pread(copy, back, 10, 0));
    MUST(chmod("file", 0644));
    /* Somebody watches. */
    use(copy);
    int watch = MUST(inotify_init1(IN_NONBLOCK));
    char events[4096];
    MUST(inotify_add_watch(watch, "file", IN_ACCESS | IN_MODIFY));
    do_pread(copy, back, 10, 0);
    do_pwrite(copy, page, 10, 0);
    SHOW(read(watch, events, sizeof events));
    use(copy);
    SHOW(read(watch, events, sizeof events) > 16);
    close(watch);
    use(copy);
    /* The last one closes: locks go with it, and it can be executed. */
    for (int i = 0; i < 3; i++) {
        int locked = MUST(open("file", O_RDWR)), again = MUST(open("file", O_RDONLY));
        MUST(flock(locked, LOCK_EX));
        use(locked);
        SHOW(flock(again, LOCK_SH | LOCK_NB));
        if (i == 2)
            MUST(dup2(again, locked));
        else if (i == 1)
            MUST(close_range(locked, locked, 0));
        else
            close(locked);
        SHOW(flock(again, LOCK_SH | LOCK_NB));
        close(again);
        close(locked);
    }
    int program = MUST(open("program", O_RDWR | O_CREAT | O_TRUNC, 0755));
    MUST(write(program, "#!/bin/sh\nexit 7\n", 17));
    for (int i = 0; i < OFTEN; i++)
        do_pwrite(program, "#!/bin/sh\nexit 7\n", 17, 0);
    child = MUST(fork());
    if (!child) {
        execl("program", "program", NULL);
        _exit(errno == ETXTBSY ? 33 : 34);
    }
    MUST(waitpid(child, &status, 0));
    show_status("executed while it is written", status);
    close(program);
    child = MUST(fork());
    if (!child) {
        execl("program", "program", NULL);
        _exit(35);
    }
    MUST(waitpid(child, &status, 0));
    show_status("executed", status);
    /* Files that can be sealed. */
    int mem = MUST(memfd_create("sealed", MFD_ALLOW_SEALING));
    MUST(write(mem, page, SIZE));
    use(mem);
    SHOW(fcntl(mem, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK));
    SHOW(do_pwrite(mem, page, 1, 0));
    SHOW(do_pread(mem, back, 10, 0));
    use(mem);
    SHOW(ftruncate(mem, 0));
    int plain = MUST(memfd_create("plain", 0));
    MUST(write(plain, page, SIZE));
    often_pwrite(plain);
    SHOW(fcntl(plain, F_ADD_SEALS, F_SEAL_WRITE));
    often_pread(plain);
    close_range(3, ~0U, 0);
}

/* More files than there may be ways to. */
static void many(void)
{
    enum { FILES = 45 };
    int fds[FILES], wrong = 0;
    long value[FILES] = {0};
    for (int i = 0; i < FILES; i++) {
        char name[16];
        snprintf(name, sizeof name, "many%d", i);
        fds[i] = fresh(name);
    }
    for (int round = 0; round < 900; round++)
        for (int k = 0; k < FILES; k++) {
            /* Some oftener than others. */
            int i = round % 3 ? k % (1 + round % FILES) : k;
            long n = -1;
            if (round > 1 && value[i] && (do_pread(fds[i], &n, 8, 16) != 8 || n != value[i]))
                wrong++;
            value[i] = round * 1000 + i + 1;
            if (do_pwrite(fds[i], &value[i], 8, 16) != 8)
                wrong++;
        }
    say("many files: %d wrong", wrong);
    for (int i = 0; i < FILES; i++) {
        char name[16];
        snprintf(name, sizeof name, "many%d", i);
        MUST(unlink(name));
    }
    close_range(3, ~0U, 0);
}

enum { THREADS = 4, COUNT = 6000 };
static int shared_fd, over;
static pthread_barrier_t turn;

/* Each has a page of its own, all one file. */
static void *counter(void *which)
{
    long at = (long)which, n;
    int own = at % 2 ? shared_fd : MUST(open("file", O_RDWR));
    for (int i = 0; i < COUNT; i++) {
        if (do_pread(own, &n, 8, at * 4096 + 8) != 8)
            say("thread %ld: pread", at);
        n++;
        if (do_pwrite(own, &n, 8, at * 4096 + 8) != 8)
            say("thread %ld: pwrite", at);
    }
    return NULL;
}

/* Whole pages to the same place: they do not mix. */
static void *overwriter(void *letter)
{
    char all[4096];
    memset(all, (int)(long)letter, sizeof all);
    for (int round = 0; round < 30; round++) {
        pthread_barrier_wait(&turn);
        for (int i = 0; i < 300; i++)
            do_pwrite(shared_fd, all, sizeof all, 0);
        pthread_barrier_wait(&turn);
        pthread_barrier_wait(&turn);
    }
    return NULL;
}

/* What changes beside. */
static void *meddler(void *unused)
{
    struct stat s;
    for (int i = 0; !__atomic_load_n(&over, __ATOMIC_SEQ_CST); i++) {
        int fd = MUST(open("file", O_RDWR));
        switch (i % 6) {
        case 0:
            MUST(fchmod(fd, i % 4 ? 0644 : 0600));
            break;
        case 1:
            MUST(ftruncate(fd, (THREADS + i % 3) * 4096 + i % 100));
            break;
        case 2:
            MUST(do_pwrite(fd, "x", 1, THREADS * 4096 + i % 200));
            break;
        case 3:
            MUST(fcntl(shared_fd, F_SETFL, i % 4 ? O_NONBLOCK : 0));
            break;
        case 4:
            MUST(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (THREADS + 1) * 4096, 4096));
            break;
        default: {
            void *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, THREADS * 4096);
            munmap(m, 4096);
        }
        }
        MUST(fstat(fd, &s));
        close(fd);
        pause_ms(1);
    }
    return unused;
}

static void threads(void)
{
    pthread_t t[THREADS], m;
    shared_fd = MUST(open("file", O_RDWR | O_CREAT | O_TRUNC, 0644));
    fill(page, 0);
    memset(page, 0, 4096);
    for (int i = 0; i < THREADS + 2; i++)
        MUST(pwrite(shared_fd, page, 4096, i * 4096));
    MUST(pthread_create(&m, NULL, meddler, NULL));
    for (long i = 0; i < THREADS; i++)
        MUST(pthread_create(&t[i], NULL, counter, (void *)i));
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    __atomic_store_n(&over, 1, __ATOMIC_SEQ_CST);
    pthread_join(m, NULL);
    for (int i = 0; i < THREADS; i++) {
        long n = 0;
        MUST(do_pread(shared_fd, &n, 8, i * 4096 + 8));
        SHOW(n);
    }
    /* A thread that ends with what it had, and others that begin with nothing. */
    for (long i = 0; i < 20; i++) {
        MUST(pthread_create(&t[0], NULL, counter, (void *)(i % THREADS)));
        pthread_join(t[0], NULL);
    }
    long n = 0;
    MUST(do_pread(shared_fd, &n, 8, 8));
    SHOW(n);
    int mixed = 0;
    pthread_barrier_init(&turn, NULL, 3);
    MUST(pthread_create(&t[0], NULL, overwriter, (void *)'a'));
    MUST(pthread_create(&t[1], NULL, overwriter, (void *)'b'));
    for (int round = 0; round < 30; round++) {
        pthread_barrier_wait(&turn);
        pthread_barrier_wait(&turn);
        MUST(do_pread(shared_fd, back, 4096, 0));
        for (int i = 1; i < 4096; i++)
            if (back[i] != back[0]) {
                mixed++;
                break;
            }
        pthread_barrier_wait(&turn);
    }
    pthread_join(t[0], NULL);
    pthread_join(t[1], NULL);
    say("%d mixed", mixed);
    close_range(3, ~0U, 0);
}

int main(void)
{
    /* A tmpfs on both sides. */
    char dir[] = "/dev/shm/pages.XXXXXX";
    if (!mkdtemp(dir) || chdir(dir))
        return 1;
    warm(any_call);
    contents();
    sizes();
    times();
    others();
    many();
    threads();
    for (const char **name = (const char *[]){"file", "other", "program", NULL}; *name; name++)
        MUST(unlink(*name));
    MUST(rmdir(dir));
    return 0;
}
