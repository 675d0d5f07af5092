//@ root=only
/* name_to_handle_at(2), open_by_handle_at(2). */
#include "check.h"

struct handle {
    unsigned bytes;
    int type;
    unsigned char data[128];
};

static long ask(int dir, const char *path, struct handle *h, int flags)
{
    int id;
    return syscall(SYS_name_to_handle_at, dir, path, h, &id, flags);
}
static long by_handle(int fd, struct handle *h, int flags)
{
    return syscall(SYS_open_by_handle_at, fd, h, flags);
}

static volatile sig_atomic_t signals;
static void on_signal(int n)
{
    signals++;
}

/* Whoever has a lease is asked first (F_SETLEASE), and a FIFO waits for its peer. */
static void waits(int here)
{
    struct handle h = {.bytes = 128}, fifo = h;
    signal(SIGIO, on_signal);
    put_file("leased", "content");
    MUST(ask(AT_FDCWD, "leased", &h, 0));
    int fd = MUST(open("leased", O_RDONLY));
    MUST(fcntl(fd, F_SETLEASE, F_RDLCK));
    SHOW(close(MUST(by_handle(here, &h, O_RDONLY))));
    SHOW(by_handle(here, &h, O_WRONLY | O_NONBLOCK | O_TRUNC));
    say("signals %d", signals);
    pid_t child = MUST(fork());
    if (child == 0) {
        close(fd);
        long begin = now_ms();
        int opened = by_handle(here, &h, O_WRONLY | O_TRUNC);
        say("%s after a while %d", opened < 0 ? strerrorname_np(errno) : "works", now_ms() - begin >= 80);
        struct stat s;
        MUST(stat("leased", &s));
        say("size %ld", (long)s.st_size);
        _exit(0);
    }
    pause_ms(150);
    struct stat s;
    MUST(stat("leased", &s));
    say("size %ld", (long)s.st_size);
    MUST(fcntl(fd, F_SETLEASE, F_UNLCK));
    MUST(waitpid(child, NULL, 0));
    close(fd);
    MUST(mkfifo("fifo", 0600));
    MUST(ask(AT_FDCWD, "fifo", &fifo, 0));
    SHOW(by_handle(here, &fifo, O_WRONLY | O_NONBLOCK));
    child = MUST(fork());
    if (child == 0) {
        MUST(write(MUST(by_handle(here, &fifo, O_WRONLY)), "x", 1));
        _exit(0);
    }
    char c = 0;
    int reader = MUST(by_handle(here, &fifo, O_RDONLY));
    SHOW(read(reader, &c, 1));
    close(reader);
    MUST(waitpid(child, NULL, 0));
}

int main(void)
{
    struct handle h = {.bytes = 128}, again = h, small = {.bytes = 1}, root = h;
    put_file("f", "content");
    symlink("f", "l");
    mkdir("d", 0755);
    put_file("d/x", "x");
    SHOW(ask(AT_FDCWD, "f", &h, 0));
    SHOW(ask(AT_FDCWD, "l", &again, AT_SYMLINK_FOLLOW));
    say("same %d", h.bytes == again.bytes && h.type == again.type && !memcmp(h.data, again.data, h.bytes));
    again.bytes = 128;
    SHOW(ask(AT_FDCWD, "l", &again, 0));
    say("another %d", memcmp(h.data, again.data, h.bytes) != 0);
    SHOW(ask(AT_FDCWD, "f", &small, 0));
    say("room wanted %d", small.bytes == h.bytes);
    again.bytes = 129;
    SHOW(ask(AT_FDCWD, "f", &again, 0));
    again.bytes = 128;
    SHOW(ask(AT_FDCWD, "none", &again, 0));
    SHOW(ask(AT_FDCWD, "", &again, 0));
    SHOW(ask(AT_FDCWD, "f", &again, 0x8000));
    SHOW(ask(AT_FDCWD, "f", NULL, 0));
    int fd = MUST(open("f", O_RDONLY));
    SHOW(ask(fd, "", &again, AT_EMPTY_PATH));
    again.bytes = 128;
    SHOW(ask(AT_FDCWD, "/proc/self", &again, 0));
    int here = MUST(open(".", O_RDONLY | O_DIRECTORY));
    int opened = MUST(by_handle(here, &h, O_RDONLY));
    char buffer[16] = {0};
    SHOW(read(opened, buffer, sizeof buffer));
    say("%s", buffer);
    SHOW(write(opened, "x", 1));
    SHOW(close(MUST(by_handle(fd, &h, O_RDWR))));
    SHOW(close(MUST(by_handle(AT_FDCWD, &h, O_RDWR | O_APPEND))));
    SHOW(by_handle(here, &h, O_RDONLY | O_DIRECTORY));
    SHOW(by_handle(-1, &h, O_RDONLY));
    SHOW(by_handle(999, &h, O_RDONLY));
    SHOW(by_handle(here, NULL, O_RDONLY));
    again = h;
    again.bytes = 0;
    SHOW(by_handle(here, &again, O_RDONLY));
    again.bytes = 129;
    SHOW(by_handle(here, &again, O_RDONLY));
    root.bytes = 128;
    SHOW(ask(AT_FDCWD, "d", &root, 0));
    int dir = MUST(by_handle(here, &root, O_RDONLY | O_DIRECTORY));
    SHOW(faccessat(dir, "x", F_OK, 0));
    SHOW(by_handle(here, &root, O_RDWR));
    again.bytes = 128;
    SHOW(ask(AT_FDCWD, "l", &again, 0));
    SHOW(by_handle(here, &again, O_RDONLY));
    SHOW(close(MUST(by_handle(here, &again, O_PATH))));
    SHOW(rename("f", "d/moved"));
    SHOW(close(MUST(by_handle(here, &h, O_RDONLY))));
    close(fd);
    close(opened);
    SHOW(unlink("d/moved"));
    SHOW(by_handle(here, &h, O_RDONLY));
    waits(here);
    MUST(setresuid(1000, 1000, 1000));
    SHOW(ask(AT_FDCWD, "d", &root, 0));
    SHOW(by_handle(here, &root, O_RDONLY));
    return 0;
}
