/* A thread that gets a table of descriptors of its own, and closes there what it has used often. */
#include "often.h"
#include <linux/close_range.h>
#include <sys/file.h>

enum { OFTEN = 1200 };
static int file, pipes[2], null;
static char data[4096], back[4096];
static pthread_barrier_t turn;

/* Until whoever makes them faster knows all of them. */
static void use(void)
{
    for (int i = 0; i < OFTEN; i++) {
        if (pread(file, back, 100, i) != 100 || memcmp(back, data + i, 100) || pwrite(file, data, 100, 0) != 100)
            say("%d went wrong", i);
        if (write(pipes[1], data, 100) != 100 || read(pipes[0], back, 100) != 100)
            say("pipe %d went wrong", i);
        struct stat s;
        if (write(null, data, 10) != 10 || lseek(file, i, SEEK_SET) != i || fstat(file, &s) || s.st_size != 4096)
            say("other %d went wrong", i);
    }
}

/* All results, then all words: whatever else is called may change what is known. */
static void all(const char *who)
{
    struct stat s;
    long got[7];
    got[0] = pread(file, back, 100, 0);
    got[1] = pwrite(file, data, 100, 0);
    got[2] = lseek(file, 7, SEEK_SET);
    got[3] = fstat(file, &s);
    got[4] = write(null, data, 10);
    got[5] = write(pipes[1], data, 100);
    got[6] = read(pipes[0], back, 100);
    say("%s: pread %ld pwrite %ld lseek %ld fstat %ld null %ld pipe %ld %ld", who, got[0], got[1], got[2], got[3], got[4], got[5], got[6]);
}

static void by_close_range(void)
{
    MUST(close_range(3, ~0U, CLOSE_RANGE_UNSHARE));
}

static void by_unshare(void)
{
    MUST(unshare(CLONE_FILES));
    close(file);
    close(null);
    close(pipes[0]);
    close(pipes[1]);
}

/* Nothing is closed by the call itself. */
static void by_range_of_none(void)
{
    MUST(close_range(900, 901, CLOSE_RANGE_UNSHARE));
    all("own table");
    close_range(3, ~0U, 0);
}

static void *leaves(void *how)
{
    use();
    ((void (*)(void))how)();
    all("without");
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
    /* The same numbers for something else. */
    int other = MUST(open("other", O_RDWR | O_CREAT | O_TRUNC, 0644));
    MUST(write(other, "other", 5));
    SHOW(other == file);
    SHOW(pread(file, back, 100, 0));
    SHOW(pread(pipes[1], back, 100, 0));
    close(other);
    return NULL;
}

static void one(const char *what, void (*how)(void))
{
    pthread_t t;
    say("-- %s", what);
    file = MUST(open("file", O_RDWR | O_CREAT | O_TRUNC, 0644));
    MUST(write(file, data, sizeof data));
    null = MUST(open("/dev/null", O_RDWR));
    MUST(pipe(pipes));
    MUST(pthread_create(&t, NULL, leaves, how));
    pthread_barrier_wait(&turn);
    all("with");
    use();
    all("with");
    pthread_barrier_wait(&turn);
    pthread_join(t, NULL);
    all("still");
    close_range(3, ~0U, 0);
}

/* Memory of its own, too: what it has used is not kept open by it. */
static void process(void)
{
    int here[2], there[2], status, again;
    char c = 0;
    file = MUST(open("file", O_RDWR | O_CREAT | O_TRUNC, 0644));
    again = MUST(open("file", O_RDONLY));
    MUST(write(file, data, sizeof data));
    MUST(flock(file, LOCK_EX));
    MUST(pipe(here));
    MUST(pipe(there));
    pid_t child = MUST((pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0));
    if (!child) {
        for (int i = 0; i < OFTEN; i++)
            if (pread(file, back, 100, i) != 100 || pwrite(file, data, 100, 0) != 100)
                _exit(1);
        MUST(close_range(file, file, CLOSE_RANGE_UNSHARE));
        MUST(write(here[1], &c, 1));
        MUST(read(there[0], &c, 1));
        _exit(pread(file, back, 100, 0) == -1 && errno == EBADF ? 0 : 2);
    }
    MUST(read(here[0], &c, 1));
    SHOW(flock(again, LOCK_SH | LOCK_NB));
    SHOW(pread(file, back, 100, 0));
    close(file);
    SHOW(flock(again, LOCK_SH | LOCK_NB));
    MUST(write(there[1], &c, 1));
    MUST(waitpid(child, &status, 0));
    show_status("process", status);
    close_range(3, ~0U, 0);
}

int main(void)
{
    /* A tmpfs on both sides. */
    char dir[] = "/dev/shm/unshared.XXXXXX";
    if (!mkdtemp(dir) || chdir(dir))
        return 1;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = i * 7 % 251 * (i >= 100);
    pthread_barrier_init(&turn, NULL, 2);
    warm(any_call);
    one("close_range", by_close_range);
    one("close_range of nothing", by_range_of_none);
    one("unshare", by_unshare);
    for (int i = 0; i < 3; i++)
        process();
    MUST(unlink("file"));
    MUST(unlink("other"));
    MUST(rmdir(dir));
    return 0;
}
