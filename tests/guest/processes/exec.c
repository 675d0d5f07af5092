/* execve: scripts, errors, what survives and what does not. */
#include "check.h"

static int run(const char *path, char *const argv[])
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        execv(path, argv);
        say("%s: %s", path, strerrorname_np(errno));
        _exit(111);
    }
    int status;
    waitpid(pid, &status, 0);
    show_status(path, status);
    return 0;
}

static void note(int signal)
{
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "child")) {
        sigset_t set;
        struct sigaction a;
        printf("argc %d:", argc);
        for (int i = 0; i < argc; i++)
            printf(" %s", i == 0 && strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[i]);
        say("%s", "");
        sigprocmask(0, NULL, &set);
        say("blocked SIGUSR1 %d SIGUSR2 %d", sigismember(&set, SIGUSR1), sigismember(&set, SIGUSR2));
        sigaction(SIGHUP, NULL, &a);
        say("SIGHUP ignored %d", a.sa_handler == SIG_IGN);
        sigaction(SIGTERM, NULL, &a);
        say("SIGTERM default %d", a.sa_handler == SIG_DFL);
        say("environment %s", getenv("MARK"));
        return 42;
    }
    setenv("MARK", "here", 1);
    char *child[] = {"child-name", "child", "an argument with spaces", "", NULL};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGHUP, SIG_IGN);
    signal(SIGTERM, note);
    run("/proc/self/exe", child);
    run("nothing", child);
    put_file("text", "no shebang\n");
    run("./text", child);
    MUST(chmod("text", 0755));
    run("./text", child);
    put_file("script", "#!/bin/sh -e\necho script \"$#\" \"$1\"\nexit 3\n");
    MUST(chmod("script", 0755));
    run("./script", child);
    put_file("script2", "#!./script argument of script\n");
    MUST(chmod("script2", 0755));
    run("./script2", child);
    put_file("bad", "#!/nonexistent/interpreter\n");
    MUST(chmod("bad", 0755));
    run("./bad", child);
    put_file("loop", "#!./loop\n");
    MUST(chmod("loop", 0755));
    run("./loop", child);
    MUST(mkdir("directory", 0755));
    run("./directory", child);
    run("./script/x", child);
    put_file("empty", "");
    MUST(chmod("empty", 0755));
    run("./empty", child);
    put_file("elf", "\177ELF but not really");
    MUST(chmod("elf", 0755));
    run("./elf", child);
    int fd = MUST(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    fflush(stdout);
    if (fork() == 0) {
        char *env[] = {"MARK=by descriptor", NULL};
        fexecve(fd, child, env);
        _exit(1);
    }
    int status;
    wait(&status);
    show_status("fexecve", status);
    char **many = calloc(100001, sizeof *many);
    char big[200];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    for (int i = 0; i < 100000; i++)
        many[i] = big;
    run("/bin/true", many);
    char *huge = malloc(200000);
    memset(huge, 'y', 199999);
    huge[199999] = 0;
    char *one[] = {"true", huge, NULL};
    run("/bin/true", one);
    pid_t v = vfork();
    if (v == 0) {
        execl("/bin/sh", "sh", "-c", "exit 5", NULL);
        _exit(1);
    }
    MUST(waitpid(v, &status, 0));
    show_status("vfork", status);
    return 0;
}
