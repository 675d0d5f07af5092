/* rlimits, priorities, prctl names, personality, umask, uname, sysinfo, getrandom. */
#include "check.h"
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

int main(void)
{
    struct rlimit l;
    SHOW(getrlimit(RLIMIT_FSIZE, &l));
    l.rlim_cur = 1000;
    SHOW(setrlimit(RLIMIT_FSIZE, &l));
    signal(SIGXFSZ, SIG_IGN);
    int fd = MUST(open("f", O_RDWR | O_CREAT, 0600));
    char buffer[2000] = {0};
    SHOW(write(fd, buffer, 2000));
    SHOW(write(fd, buffer, 1));
    SHOW(ftruncate(fd, 5000));
    l.rlim_cur = 10;
    l.rlim_max = 5;
    SHOW(setrlimit(RLIMIT_CPU, &l));
    SHOW(getrlimit(99, &l));
    SHOW(prlimit(0, RLIMIT_CORE, &(struct rlimit){0, 0}, &l));
    SHOW(getrlimit(RLIMIT_CORE, &l));
    say("core %ld %ld", (long)l.rlim_cur, (long)l.rlim_max);
    SHOW(prctl(PR_SET_NAME, "a name that is too long"));
    char name[16];
    SHOW(prctl(PR_GET_NAME, name));
    say("%s", name);
    show_file("/proc/self/comm");
    SHOW(prctl(PR_SET_PDEATHSIG, SIGUSR1));
    int number = 0;
    SHOW(prctl(PR_GET_PDEATHSIG, &number));
    SHOW(number);
    SHOW(prctl(PR_SET_PDEATHSIG, 99));
    SHOW(prctl(PR_GET_DUMPABLE));
    SHOW(prctl(PR_SET_DUMPABLE, 0));
    SHOW(prctl(PR_GET_DUMPABLE));
    SHOW(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    SHOW(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    SHOW(prctl(123456));
    SHOW(personality(0xffffffff));
    SHOW(umask(027));
    SHOW(umask(022));
    /* The tests themselves may run at a lower priority. */
    SHOW(setpriority(PRIO_PROCESS, 0, 15));
    SHOW(getpriority(PRIO_PROCESS, 0));
    SHOW(sched_getscheduler(0));
    SHOW(sched_get_priority_max(SCHED_FIFO));
    cpu_set_t set;
    SHOW(sched_getaffinity(0, sizeof set, &set));
    SHOW(CPU_COUNT(&set) > 0);
    SHOW(sched_getaffinity(0, 1, &set));
    SHOW(sched_yield());
    struct utsname u;
    SHOW(uname(&u));
    say("%s %s", u.sysname, u.machine);
    SHOW(gethostname(name, 1));
    struct sysinfo i;
    SHOW(sysinfo(&i));
    SHOW(i.totalram > 0 && i.procs > 0);
    SHOW(getrandom(buffer, 100, 0));
    SHOW(getrandom(buffer, 1, 0x100));
    SHOW(syscall(999));
    SHOW(syscall(SYS_getcpu, NULL, NULL, NULL));
    SHOW(sysconf(_SC_PAGESIZE));
    SHOW(sysconf(_SC_CLK_TCK));
    return 0;
}
