/* A guest that attacks the kernel it runs on: random system calls with wild, and with nearly right, arguments from several
 * processes, whose memory further threads rewrite meanwhile.
 *
 *     hostile SEED SECONDS
 *
 * Run as process 1 it watches: it starts attackers, says every 100 ms that it is alive ("tick"), ends each round with a
 * kill of everything, and looks whether everything died. Attackers are `hostile child SEED ROOT DEPTH`: the same seed makes
 * the same calls (but for what threads and other processes do to them). */
#include "attacks.h"
#include <dirent.h>
#include <sys/mount.h>

#define ATTACKERS 3
#define ROUND_MS 1500

static void one_call(struct rng *r)
{
    u64 what = below(r, 1000);
    if (what < 12) {
        new_process(r);
    } else if (what < 60) {
        device_call(r);
    } else if (what < 100) {
        option_call(r);
    } else if (what < 200) {
        queue_file(r);
    } else if (what < 203) {
        odd_entry(r);
    } else if (what < 206) {
        lay_out_arena();
    } else if (what < 209) {
        open_everything(r);
    } else if (what < 240) { /* any number with anything */
        u64 n = chance(r, 95) ? below(r, 470) : number(r), a = number(r);
        /* Not: the end, a sleep without an end, the watcher. */
        if (n == SYS_exit || n == SYS_exit_group || n == SYS_pause || n == SYS_fork || n == SYS_vfork || n == SYS_clone || n == 435)
            return;
        raw(n, (int)a == 1 ? 2 : a, chance(r, 50) ? address(r) : number(r), address(r), number(r), address(r), number(r));
    } else {
        u64 weights = 0;
        for (u64 i = 0; i < CALLS; i++)
            weights += calls[i].weight;
        u64 at = below(r, weights), i = 0;
        while (at >= (u64)calls[i].weight)
            at -= calls[i++].weight;
        u64 a[6] = {0}, length = 16, count = 1;
        for (u64 k = 0; calls[i].kinds[k]; k++)
            a[k] = argument(r, calls[i].kinds[k], &length, &count);
        /* Signals of files do not go to process 1 either. */
        if (calls[i].number == SYS_fcntl && (a[1] == F_SETOWN_EX || (a[1] == F_SETOWN && ((int)a[2] == 1 || (int)a[2] == -1))))
            return;
        raw(calls[i].number, a[0], a[1], a[2], a[3], a[4], a[5]);
    }
}

static void run_calls(struct rng *r, u64 n)
{
    for (u64 i = 0; i < n; i++)
        one_call(r);
}

/* Repairs the arena, or dies. */
static void fault(int signal, siginfo_t *info, void *context)
{
    static int faults;
    u64 at = (u64)info->si_addr;
    if (at < ARENA || at >= ARENA + PAGES * PAGE || faults++ > 500)
        raw(SYS_exit_group, 99, 0, 0, 0, 0, 0);
    lay_out_arena();
}

static void nothing(int signal)
{
}

/* Threads that make calls, in the order of their start. */
#define CALLERS 3
static volatile int callers[CALLERS];

static void scribble(struct rng *r)
{
    for (u64 n = 0;; n++) {
        for (int i = 0; i < 300; i++) {
            u64 at = ARENA + below(r, 48 * PAGE / 8) * 8;
            /* Not into pages that may be gone: a fault here would slow everything down. */
            u64 w = chance(r, 50) ? number(r) : address(r);
            if (chance(r, 50))
                *(volatile u64 *)at = w;
            else
                *(volatile uint32_t *)at ^= 1U << below(r, 32);
        }
        if (chance(r, 3))
            raw(SYS_munmap, ARENA + below(r, 48) * PAGE, PAGE, 0, 0, 0, 0);
        if (chance(r, 3))
            raw(SYS_mprotect, ARENA + below(r, 48) * PAGE, PAGE, below(r, 8), 0, 0, 0);
        /* Nobody waits for long. */
        raw(SYS_tkill, callers[n % CALLERS], SIGALRM, 0, 0, 0, 0);
        u64 t[2] = {0, 1000000};
        raw(SYS_nanosleep, (u64)t, 0, 0, 0, 0, 0);
    }
}

static void call_on(struct rng *r)
{
    callers[r->thread] = raw(SYS_gettid, 0, 0, 0, 0, 0, 0);
    for (;;)
        one_call(r);
}

/* A thread without libc's help. */
static void start_thread(void (*run)(struct rng *), u64 seed, int number_)
{
    long stack = raw(SYS_mmap, 0, 128 << 10, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack < 0)
        return;
    struct rng *r = (struct rng *)stack;
    *r = (struct rng){seed, 1, number_};
    u64 *top = (u64 *)(stack + (128 << 10) - 64);
    top[0] = (u64)r;
    top[1] = (u64)run;
    u64 flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    long result;
    __asm__ volatile("syscall\n test %%rax, %%rax\n jnz 1f\n pop %%rdi\n pop %%rax\n call *%%rax\n ud2\n 1:"
                     : "=a"(result) : "a"(SYS_clone), "D"(flags), "S"(top), "d"(0) : "rcx", "r11", "memory");
}

static void attack(u64 seed, int root, int depth)
{
    struct rng r = {seed, depth, 0};
    raw(SYS_close_range, 0, ~0U, 0, 0, 0, 0);
    raw(SYS_setsid, 0, 0, 0, 0, 0, 0);
    for (int i = 0; i < 3; i++)
        raw(SYS_open, (u64) "/dev/null", O_RDWR, 0, 0, 0, 0);
    struct rlimit limit = {200, 200}, files = {512, 512};
    prlimit(0, RLIMIT_NPROC, &limit, NULL);
    prlimit(0, RLIMIT_NOFILE, &files, NULL);
    /* The host's memory is not what is attacked. */
    struct rlimit size = {16 << 20, 16 << 20}, space = {1 << 30, 1 << 30};
    prlimit(0, RLIMIT_FSIZE, &size, NULL);
    prlimit(0, RLIMIT_AS, &space, NULL);
    if (!root) {
        raw(SYS_setresgid, 1000, 1000, 1000, 0, 0, 0);
        raw(SYS_setresuid, 1000, 1000, 1000, 0, 0, 0);
        raw(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0, 0);
    }
    lay_out_arena();
    char *stack = mmap(NULL, 64 << 10, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack_t alternate = {.ss_sp = stack, .ss_size = 64 << 10};
    sigaltstack(&alternate, NULL);
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_sigaction = fault;
    a.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &a, NULL);
    sigaction(SIGBUS, &a, NULL);
    a.sa_flags = 0;
    a.sa_handler = nothing;
    for (int s = 1; s < 65; s++)
        if (s != SIGSEGV && s != SIGBUS && s != SIGTRAP && s != SIGILL && s != SIGFPE && s != SIGSYS && chance(&r, 80))
            sigaction(s, &a, NULL);
    sigaction(SIGALRM, &a, NULL);
    open_everything(&r);
    if (depth == 0) {
        for (int i = 1; i < CALLERS; i++)
            start_thread(call_on, next(&r), i);
        start_thread(scribble, next(&r), 0);
        call_on(&r);
    }
    set_alarm();
    run_calls(&r, 200);
    _exit(0);
}

static u64 now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000UL + t.tv_nsec / 1000000;
}

static u64 started, last_tick, worst_gap, dead, unable;

static void note(int status)
{
    dead++;
    unable += WIFEXITED(status) && WEXITSTATUS(status) == 98;
}

static void tick(void)
{
    u64 now = now_ms();
    if (last_tick && now - last_tick > worst_gap)
        worst_gap = now - last_tick;
    last_tick = now;
    dprintf(1, "tick %lu\n", now - started);
}

/* This program, however the names change. */
static int self;

static pid_t start_attacker(u64 seed, int root)
{
    pid_t pid = fork();
    if (pid)
        return pid;
    for (int s = 1; s < 65; s++)
        signal(s, SIG_DFL);
    if (getpid() == 1) {
        dprintf(1, "failed: fork returned 0 in its caller\n");
        _exit(97);
    }
    char text[32];
    snprintf(text, sizeof text, "%lu", seed);
    const char *argv[] = {"hostile", "child", text, root ? "1" : "0", "0", NULL};
    syscall(SYS_execveat, self, "", argv, NULL, AT_EMPTY_PATH);
    _exit(98);
}

/* Removes a tree, as far as that is possible. */
static void clear(int dir)
{
    DIR *d = fdopendir(dir);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        umount2(e->d_name, MNT_DETACH);
        if (unlinkat(dir, e->d_name, 0) == 0)
            continue;
        int sub = openat(dir, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        if (sub >= 0)
            clear(sub);
        unlinkat(dir, e->d_name, AT_REMOVEDIR);
    }
    if (d)
        closedir(d);
}

static void tidy(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        for (int id = 0; id < 400; id++) {
            /* By index: what was made under any key. */
            char b[256];
            long shm = syscall(SYS_shmctl, id, 13, b), sem = syscall(SYS_semctl, id, 0, 18, b), msg = syscall(SYS_msgctl, id, 11, b);
            if (shm >= 0)
                syscall(SYS_shmctl, shm, 0, 0);
            if (sem >= 0)
                syscall(SYS_semctl, sem, 0, 0, 0);
            if (msg >= 0)
                syscall(SYS_msgctl, msg, 0, 0);
        }
        syscall(SYS_mq_unlink, "q");
        static const char *const dirs[] = {"/tmp/hostile", "/dev/shm"};
        for (int i = 0; i < 2; i++) {
            int dir = open(dirs[i], O_RDONLY | O_DIRECTORY);
            if (dir >= 0)
                clear(dir);
        }
        _exit(0);
    }
    u64 until = now_ms() + 20000;
    while (waitpid(pid, NULL, WNOHANG) == 0 && now_ms() < until) {
        usleep(20000);
        if (now_ms() - last_tick >= 100)
            tick();
    }
}

/* Lets attackers attack; one that died is replaced. */
static void attend(struct rng *r, int root, u64 for_ms)
{
    pid_t pids[ATTACKERS] = {0};
    u64 until = now_ms() + for_ms;
    do {
        int status;
        for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0; note(status))
            for (int i = 0; i < ATTACKERS; i++)
                if (pids[i] == pid)
                    pids[i] = 0;
        for (int i = 0; i < ATTACKERS; i++)
            if (!pids[i])
                pids[i] = start_attacker(next(r), root);
        usleep(20000);
        if (now_ms() - last_tick >= 100)
            tick();
    } while (now_ms() < until);
}

static int everything_died(void)
{
    u64 until = now_ms() + 20000;
    while (now_ms() < until) {
        kill(-1, SIGKILL);
        pid_t pid = waitpid(-1, NULL, WNOHANG);
        if (pid > 0)
            dead++;
        else if (pid < 0 && errno == ECHILD)
            return 1;
        else
            usleep(5000);
        if (now_ms() - last_tick >= 100)
            tick();
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 5) {
        attack(strtoul(argv[2], NULL, 10), atoi(argv[3]), atoi(argv[4]));
        return 0;
    }
    u64 seed = strtoul(argv[1], NULL, 10), seconds = strtoul(argv[2], NULL, 10);
    started = now_ms();
    self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    /* The watcher is an ordinary process to the attackers, who may be root. */
    for (int s = 1; s < 65; s++)
        if (s != SIGCHLD)
            signal(s, SIG_IGN);
    u64 round = 0;
    struct rng r = {seed, 0, 0};
    while (now_ms() - started < seconds * 1000) {
        int root = round % 2;
        mkdir("/tmp/hostile", 0777);
        chmod("/tmp/hostile", 0777);
        chdir("/tmp/hostile");
        dprintf(1, "round %lu as %s\n", round, root ? "root" : "a user");
        attend(&r, root, ROUND_MS);
        chdir("/");
        if (!everything_died()) {
            dprintf(1, "stuck: processes do not die of SIGKILL\n");
            return 1;
        }
        tidy();
        round++;
        dprintf(1, "end of round %lu: %lu died, %lu could not start, longest gap %lu ms\n", round, dead, unable, worst_gap);
    }
    dprintf(1, "done\n");
    return 0;
}
