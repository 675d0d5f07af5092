/* Set-user-id programs: what their user can see of them and change about them. */
#include "check.h"
#include <sys/mount.h>
#include <sys/prctl.h>

#define USER 1000

static char stack[64 << 10];
static int out[2], in[2];

/* The program inside a process that waits: says "in NAME", ends when told. */
static int program(const char *name)
{
    printf("in %s: uid %s, euid %s, dumpable %d\n", name, getuid() ? "user" : "root",
           geteuid() ? "user" : "root", prctl(PR_GET_DUMPABLE));
    fflush(stdout);
    char c = 'x';
    MUST(write(100, &c, 1));
    MUST(read(101, &c, 1));
    return 0;
}

static int start(void *name)
{
    MUST(dup2(out[1], 100));
    MUST(dup2(in[0], 101));
    char c = 's';
    MUST(write(100, &c, 1));
    MUST(read(101, &c, 1));
    execl(name, name, name, NULL);
    say("exec: %s", strerrorname_np(errno));
    _exit(1);
}

static void show_read(const char *what, int fd)
{
    char buffer[64];
    if (fd < 0)
        say("%s: not opened", what);
    else
        say("%s: %s", what, pread(fd, buffer, sizeof buffer, 0) > 0 ? "shown" : "nothing");
}

static int look(int pid, const char *file)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
    int fd = open(path, O_RDONLY);
    say("%s: %s", file, fd < 0 ? strerrorname_np(errno) : "opened");
    return fd;
}

/* Its files are opened before and after it executes the program. */
static void watch(char *name, int flags)
{
    static const char *const files[] = {"maps", "environ"};
    char c, path[64];
    MUST(pipe(out));
    MUST(pipe(in));
    say("== %s", name);
    int child = MUST(clone(start, stack + sizeof stack, flags | SIGCHLD, name));
    MUST(read(out[0], &c, 1));
    int early[2];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "/proc/%d/%s", child, files[i]);
        early[i] = MUST(open(path, O_RDONLY));
    }
    MUST(write(in[1], &c, 1));
    MUST(read(out[0], &c, 1));
    int set_id = strcmp(name, "./plain") != 0;
    for (int i = 0; i < 2; i++) {
        if (set_id && !flags)
            show_read(files[i], early[i]);
        close(early[i]);
        int fd = look(child, files[i]);
        if (fd >= 0)
            close(fd);
    }
    look(child, "auxv");
    look(child, "mem");
    look(child, "fd");
    SHOW(syscall(SYS_kcmp, getpid(), child, 1, 0, 0) > 0);
    char buffer[8];
    struct iovec local = {buffer, 8}, remote = {NULL, 8};
    WORKS(syscall(SYS_process_vm_readv, child, &local, 1, &remote, 1, 0));
    MUST(write(in[1], &c, 1));
    int status;
    MUST(waitpid(child, &status, 0));
    show_status(name, status);
}

static void copy(const char *to, int mode)
{
    char command[128];
    snprintf(command, sizeof command, "cp /proc/%d/exe %s", getpid(), to);
    MUST(system(command));
    MUST(chmod(to, mode));
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return program(argv[1]);
    umask(022);
    /* Set-user-id bits of the test's own directory do not count inside. */
    MUST(unshare(CLONE_NEWNS));
    MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    MUST(mkdir("d", 0755));
    MUST(mount("none", "d", "tmpfs", 0, "mode=755"));
    MUST(chmod(".", 0755));
    MUST(chdir("d"));
    copy("plain", 0755);
    copy("unreadable", 0711);
    copy("set-id", 04755);
    MUST(setgid(USER));
    MUST(setuid(USER));
    MUST(prctl(PR_SET_DUMPABLE, 1));
    watch("./plain", 0);
    watch("./unreadable", 0);
    watch("./set-id", 0);
    /* Who shares the root and the working directory could change them: no rights are gained. */
    watch("./set-id", CLONE_FS);
    return 0;
}
