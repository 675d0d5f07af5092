/* What is left of a process that has been waited for: nothing. Its memory, files, locks and names are as good as never taken. */
//@ timeout=60
#include "often.h"
#include <stddef.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/un.h>

static int fd, rounds;
static const char *self;

/* Runs `child` in a process so many times, and `after` when it has been waited for; how often that gave an error. */
static void each(const char *what, void (*before)(void), void (*child)(void), int (*after)(void))
{
    int failed = 0, error = 0;
    for (int i = 0; i < rounds; i++) {
        int status;
        before();
        pid_t pid = MUST(fork());
        if (pid == 0) {
            child();
            _exit(0);
        }
        /* Who calls often is watched. */
        for (int k = 0; k < 200; k++)
            lseek(fd, 0, SEEK_SET);
        MUST(waitpid(pid, &status, 0));
        if (after()) {
            failed++;
            error = errno;
        }
        if (kill(pid, 0) != -1 || errno != ESRCH)
            say("%d is there", pid);
        close(fd);
    }
    say("%s: %s", what, failed ? strerrorname_np(error) : "as if it had never been");
}

static void sealable(void)
{
    fd = MUST(memfd_create("of-ours", MFD_ALLOW_SEALING));
    MUST(ftruncate(fd, 8192));
}

static void shows(void)
{
    char *p = MUST(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    p[0] = 1;
    for (int k = 0; k < 200; k++)
        lseek(fd, 0, SEEK_CUR);
}

static void shows_and_is_killed(void)
{
    shows();
    raise(SIGKILL);
}

static void *waits(void *unused)
{
    for (;;)
        pause();
    return unused;
}

static void shows_with_threads(void)
{
    pthread_t t;
    pthread_create(&t, NULL, waits, NULL);
    shows();
    syscall(SYS_exit_group, 0);
}

static void shows_and_executes(void)
{
    shows();
    execl(self, self, "nothing", NULL);
    _exit(1);
}

/* A grandchild that nobody waits for has ended when the pipe is at its end; a process that executes another program has left its memory when its
   descriptors are closed. */
static int notice[2];
static void sealable_and_pipe(void)
{
    sealable();
    MUST(pipe2(notice, O_CLOEXEC));
}

static void shows_and_goes_on(void)
{
    shows();
    char number[16];
    snprintf(number, sizeof number, "%d", fd);
    MUST(dup2(notice[0], 100));
    execl(self, self, "seal", number, NULL);
    _exit(1);
}

static int sealed(void)
{
    return fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE);
}

static int is_sealed(void)
{
    close(notice[0]);
    close(notice[1]);
    errno = EBUSY;
    return !(fcntl(fd, F_GET_SEALS) & F_SEAL_WRITE);
}

/* The lock is the open file's, which the mapping keeps open. */
static void any(void)
{
    fd = MUST(open("file", O_RDWR | O_CREAT, 0644));
}

static void locks(void)
{
    int own = MUST(open("file", O_RDWR));
    MUST(ftruncate(own, 4096));
    MUST(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, own, 0) == MAP_FAILED ? -1 : 0);
    MUST(flock(own, LOCK_EX));
    MUST(close(own));
}

static int lock(void)
{
    return flock(fd, LOCK_EX | LOCK_NB);
}

static void locks_record(void)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    MUST(fcntl(fd, F_SETLK, &l));
    shows();
}

static int lock_record(void)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_SETLK, &l);
}

/* The program of a process cannot be written. */
static void program(void)
{
    fd = MUST(open("/dev/null", O_RDWR));
}

static void runs(void)
{
    execl("./program", "./program", "nothing", NULL);
    _exit(1);
}

static int write_program(void)
{
    int own = open("./program", O_WRONLY);
    return own < 0 ? -1 : close(own);
}

static struct sockaddr_un name = {AF_UNIX, ""};
static const socklen_t name_len = offsetof(struct sockaddr_un, sun_path) + 16;
static void binds(void)
{
    int own = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    MUST(bind(own, (void *)&name, name_len));
    MUST(listen(own, 1));
}

static int bind_too(void)
{
    int own = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    int result = bind(own, (void *)&name, name_len);
    int error = errno;
    close(own);
    errno = error;
    return result;
}

/* All of a file system that is no larger. */
static void in_mount(void)
{
    MUST(mount("t", "mnt", "tmpfs", 0, "size=64k"));
    fd = MUST(open("/dev/null", O_RDWR));
}

static void fills(void)
{
    int own = MUST(open("mnt/file", O_RDWR | O_CREAT, 0644));
    MUST(ftruncate(own, 65536));
    char *p = MUST(mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, own, 0));
    memset(p, 1, 65536);
    unlink("mnt/file");
}

static int unmount(void)
{
    struct statvfs v;
    MUST(statvfs("mnt", &v));
    int result = umount("mnt");
    if (result) {
        int error = errno;
        MUST(umount2("mnt", MNT_DETACH));
        errno = error;
    } else if (v.f_bfree != v.f_blocks) {
        errno = ENOSPC;
        return -1;
    }
    return result;
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        /* Executed: the memory of before is gone. */
        if (!strcmp(argv[1], "seal"))
            fcntl(atoi(argv[2]), F_ADD_SEALS, F_SEAL_WRITE);
        return 0;
    }
    self = "/proc/self/exe";
    rounds = 40;
    /* Others have this test, too. */
    snprintf(name.sun_path + 1, 15, "remains%d", getpid());
    each("seals", sealable, shows, sealed);
    each("seals, killed", sealable, shows_and_is_killed, sealed);
    each("seals, threads", sealable, shows_with_threads, sealed);
    each("seals, another program", sealable, shows_and_executes, sealed);
    each("seals by another program", sealable_and_pipe, shows_and_goes_on, is_sealed);
    each("lock", any, locks, lock);
    each("record lock", any, locks_record, lock_record);
    MUST(system("cp /proc/$PPID/exe program"));
    each("program", program, runs, write_program);
    each("name", program, binds, bind_too);
    if (geteuid() == 0) {
        MUST(unshare(CLONE_NEWNS));
        MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
        MUST(mkdir("mnt", 0755));
        each("mount", in_mount, fills, unmount);
    }
    return 0;
}
