/* fcntl record locks, OFD locks and flock, between processes. */
#include "check.h"
#include <sys/file.h>

static int lock(int fd, int command, short type, off_t start, off_t length)
{
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    return fcntl(fd, command, &l);
}

static void in_child(void (*body)(void))
{
    fflush(stdout);
    if (fork() == 0) {
        body();
        fflush(stdout);
        _exit(0);
    }
    wait(NULL);
}

static void records(void)
{
    int fd = MUST(open("f", O_RDWR));
    SHOW(lock(fd, F_SETLK, F_WRLCK, 0, 10));
    SHOW(lock(fd, F_SETLK, F_RDLCK, 5, 1));
    SHOW(lock(fd, F_SETLK, F_WRLCK, 10, 10));
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0};
    SHOW(fcntl(fd, F_GETLK, &l));
    say("held by the parent: %d type %d start %ld length %ld", l.l_pid == getppid(), l.l_type, (long)l.l_start, (long)l.l_len);
}

static void description(void)
{
    int fd = MUST(open("f", O_RDWR));
    SHOW(flock(fd, LOCK_EX | LOCK_NB));
    SHOW(flock(fd, LOCK_SH | LOCK_NB));
    SHOW(lock(fd, F_OFD_SETLK, F_WRLCK, 0, 1));
}

static int ready[2];

static void waiter(void)
{
    int fd = MUST(open("f", O_RDWR));
    MUST(write(ready[1], "r", 1));
    /* Which of the two processes prints first after the unlock is not determined. */
    int got = lock(fd, F_SETLKW, F_WRLCK, 0, 10);
    pause_ms(100);
    say("the waiter has it: %d", got);
}

int main(void)
{
    put_file("f", "0123456789");
    int fd = MUST(open("f", O_RDWR));
    SHOW(lock(fd, F_SETLK, F_WRLCK, 0, 10));
    in_child(records);
    SHOW(lock(fd, F_SETLK, F_UNLCK, 2, 4));
    in_child(records);
    SHOW(close(MUST(open("f", O_RDONLY))));
    say("closing any descriptor drops all record locks:");
    in_child(records);
    SHOW(flock(fd, LOCK_SH));
    in_child(description);
    SHOW(flock(fd, LOCK_UN));
    SHOW(lock(fd, F_OFD_SETLK, F_WRLCK, 0, 0));
    in_child(description);
    SHOW(lock(fd, F_OFD_SETLK, F_UNLCK, 0, 0));
    SHOW(lock(MUST(open("f", O_RDONLY)), F_SETLK, F_WRLCK, 0, 0));
    SHOW(lock(fd, F_SETLK, 77, 0, 0));
    SHOW(lock(fd, F_SETLK, F_WRLCK, -5, 2));
    MUST(pipe(ready));
    SHOW(lock(fd, F_SETLK, F_WRLCK, 0, 1));
    pid_t pid = fork();
    if (pid == 0) {
        waiter();
        _exit(0);
    }
    char c;
    MUST(read(ready[0], &c, 1));
    pause_ms(100);
    say("unlocking");
    SHOW(lock(fd, F_SETLK, F_UNLCK, 0, 0));
    MUST(waitpid(pid, NULL, 0));
    return 0;
}
