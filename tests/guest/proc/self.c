/* What programs read under /proc/self and about themselves. */
#include "check.h"
#include <sys/auxv.h>

static int has(const char *file, const char *what)
{
    static char buffer[1 << 16];
    int fd = open(file, O_RDONLY);
    if (fd < 0)
        return -1;
    size_t n = 0;
    ssize_t got;
    while (n < sizeof buffer - 1 && (got = read(fd, buffer + n, sizeof buffer - 1 - n)) > 0)
        n += got;
    buffer[n] = 0;
    close(fd);
    return strstr(buffer, what) != NULL;
}

int main(int argc, char **argv)
{
    char target[4096] = {0};
    SHOW(readlink("/proc/self", target, sizeof target) > 0 && atoi(target) == getpid());
    ssize_t n = readlink("/proc/self/exe", target, sizeof target - 1);
    target[n < 0 ? 0 : n] = 0;
    char *slash = strrchr(target, '/');
    say("exe %.4s", slash ? slash + 1 : target);
    put_file("f", "x");
    int fd = MUST(open("f", O_RDONLY));
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    n = readlink(path, target, sizeof target - 1);
    target[n < 0 ? 0 : n] = 0;
    slash = strrchr(target, '/');
    say("fd %s", slash);
    MUST(unlink("f"));
    n = readlink(path, target, sizeof target - 1);
    target[n < 0 ? 0 : n] = 0;
    slash = strrchr(target, '/');
    say("unlinked %s", slash);
    int p[2];
    MUST(pipe(p));
    snprintf(path, sizeof path, "/proc/self/fd/%d", p[0]);
    n = readlink(path, target, sizeof target - 1);
    say("%.6s", target);
    SHOW(readlink("/proc/self/cwd", target, sizeof target) > 0);
    SHOW(readlink("/proc/self/root", target, sizeof target));
    SHOW(open("/proc/self/nothing", O_RDONLY));
    SHOW(open("/proc/99999999/stat", O_RDONLY));
    SHOW(open("/proc/self/stat", O_WRONLY | O_CREAT, 0600) >= -1);
    SHOW(has("/proc/self/status", "Threads:\t1\n"));
    SHOW(has("/proc/self/status", "VmRSS:"));
    SHOW(has("/proc/self/maps", "[stack]"));
    SHOW(has("/proc/self/maps", "[vdso]"));
    SHOW(has("/proc/self/cmdline", argv[0]));
    SHOW(has("/proc/self/limits", "Max open files"));
    SHOW(has("/proc/self/mounts", " / "));
    SHOW(has("/proc/self/mountinfo", " / "));
    SHOW(has("/proc/meminfo", "MemTotal:"));
    SHOW(has("/proc/cpuinfo", "processor"));
    SHOW(has("/proc/stat", "cpu0"));
    SHOW(has("/proc/version", "Linux version"));
    SHOW(has("/proc/filesystems", "tmpfs"));
    SHOW(has("/proc/loadavg", "."));
    SHOW(has("/proc/uptime", "."));
    SHOW(has("/proc/sys/kernel/ostype", "Linux"));
    SHOW(has("/proc/sys/kernel/pid_max", "\n"));
    SHOW(has("/proc/sys/kernel/random/uuid", "-"));
    SHOW(has("/proc/self/cgroup", ":"));
    SHOW(has("/proc/self/oom_score_adj", "\n"));
    int stat = MUST(open("/proc/self/stat", O_RDONLY));
    char line[1024] = {0};
    MUST(read(stat, line, sizeof line - 1));
    int fields = 0;
    for (char *f = strtok(line, " "); f; f = strtok(NULL, " "))
        fields++;
    SHOW(fields);
    int mem = MUST(open("/proc/self/mem", O_RDWR));
    int secret = 12345, copy = 0;
    SHOW(pread(mem, &copy, sizeof copy, (off_t)(uintptr_t)&secret));
    SHOW(copy);
    copy = 54321;
    SHOW(pwrite(mem, &copy, sizeof copy, (off_t)(uintptr_t)&secret));
    SHOW(secret);
    SHOW(pread(mem, &copy, sizeof copy, 8));
    SHOW(getauxval(AT_PAGESZ));
    SHOW(getauxval(AT_UID) == getuid());
    SHOW(getauxval(AT_SECURE));
    SHOW(getauxval(AT_RANDOM) != 0);
    SHOW(getauxval(AT_EXECFN) != 0);
    SHOW(access("/dev/null", R_OK | W_OK));
    fd = MUST(open("/dev/null", O_RDWR));
    SHOW(write(fd, "gone", 4));
    SHOW(read(fd, line, 4));
    fd = MUST(open("/dev/zero", O_RDWR));
    SHOW(read(fd, line, 4));
    SHOW(line[0] + line[3]);
    fd = MUST(open("/dev/full", O_RDWR));
    SHOW(write(fd, "x", 1));
    fd = MUST(open("/dev/urandom", O_RDONLY));
    SHOW(read(fd, line, 100));
    fd = MUST(open("/dev/fd/0", O_RDONLY | O_NONBLOCK));
    return 0;
}
