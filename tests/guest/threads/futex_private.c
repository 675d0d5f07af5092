/* Private futexes from call sites that come often (a platform may have the host make those calls): signals, timeouts, requeues, bad
 * addresses, and threads that lock and signal each other through the C library. */
#include "check.h"
#include <linux/futex.h>
#include <pthread.h>

static long futex(void *word, int op, unsigned value, void *timeout, void *word2, unsigned value3)
{
    long result = syscall(SYS_futex, word, op, value, timeout, word2, value3);
    return result == -1 ? -errno : result;
}

static unsigned word, second;
static volatile int handled;
static void note(int signal)
{
    handled++;
}
static void on_signal(int flags)
{
    struct sigaction action = {.sa_handler = note, .sa_flags = flags};
    sigaction(SIGUSR1, &action, NULL);
    handled = 0;
}

static long milliseconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
static struct timespec in(clockid_t clock, long ms)
{
    struct timespec at;
    clock_gettime(clock, &at);
    at.tv_nsec += ms * 1000000;
    at.tv_sec += at.tv_nsec / 1000000000;
    at.tv_nsec %= 1000000000;
    return at;
}

/* A thread that makes one call; when it sleeps, /proc says so. */
struct waiter {
    pthread_t thread;
    volatile pid_t tid;
    int op;
    unsigned *word, bits;
    struct timespec *timeout;
    long result, took;
};
static void *waits(void *argument)
{
    struct waiter *w = argument;
    w->tid = gettid();
    long start = milliseconds(CLOCK_MONOTONIC);
    w->result = futex(w->word, w->op, 0, w->timeout, NULL, w->bits);
    w->took = milliseconds(CLOCK_MONOTONIC) - start;
    return NULL;
}
static char state_of(pid_t tid)
{
    char name[64], text[256] = {0};
    snprintf(name, sizeof name, "/proc/self/task/%d/stat", tid);
    int fd = open(name, O_RDONLY);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    char *end = n > 0 ? strrchr(text, ')') : NULL;
    return end ? end[2] : '?';
}
static void settle(struct waiter *w)
{
    while (!w->tid || state_of(w->tid) != 'S')
        pause_ms(1);
    pause_ms(20);
}
static void begin(struct waiter *w, int op, unsigned *on, struct timespec *timeout, unsigned bits)
{
    *w = (struct waiter){.op = op, .word = on, .timeout = timeout, .bits = bits};
    MUST(pthread_create(&w->thread, NULL, waits, w));
    settle(w);
}
static long end(struct waiter *w)
{
    pthread_join(w->thread, NULL);
    return w->result;
}

static void signals(void)
{
    struct waiter w;
    on_signal(0);
    begin(&w, FUTEX_WAIT_PRIVATE, &word, NULL, 0);
    pthread_kill(w.thread, SIGUSR1);
    end(&w);
    say("without SA_RESTART: %ld, handled %d", w.result, handled);
    on_signal(SA_RESTART);
    begin(&w, FUTEX_WAIT_PRIVATE, &word, NULL, 0);
    for (int i = 0; i < 5; i++) {
        pthread_kill(w.thread, SIGUSR1);
        while (handled <= i)
            pause_ms(1);
        settle(&w);
    }
    long woken = futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    end(&w);
    say("with SA_RESTART: woken %ld, %ld, handled %d", woken, w.result, handled);
    /* A wait with a timeout ends with EINTR whatever the handler says. */
    struct timespec relative = {5, 0}, at = in(CLOCK_MONOTONIC, 5000), real = in(CLOCK_REALTIME, 5000);
    on_signal(SA_RESTART);
    begin(&w, FUTEX_WAIT_PRIVATE, &word, &relative, 0);
    pthread_kill(w.thread, SIGUSR1);
    end(&w);
    say("relative timeout: %ld, handled %d", w.result, handled);
    begin(&w, FUTEX_WAIT_BITSET_PRIVATE, &word, &at, ~0u);
    pthread_kill(w.thread, SIGUSR1);
    end(&w);
    say("until: %ld, handled %d", w.result, handled);
    begin(&w, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, &word, &real, ~0u);
    pthread_kill(w.thread, SIGUSR1);
    end(&w);
    say("until by the wall clock: %ld, handled %d", w.result, handled);
    /* What is ignored or blocked does not disturb it. */
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGWINCH, SIG_IGN);
    begin(&w, FUTEX_WAIT_PRIVATE, &word, NULL, 0);
    for (int i = 0; i < 20; i++) {
        pthread_kill(w.thread, SIGUSR2);
        pthread_kill(w.thread, SIGWINCH);
        pthread_kill(w.thread, SIGCHLD);
    }
    woken = futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    end(&w);
    say("ignored and blocked signals: woken %ld, %ld", woken, w.result);
    /* A timer of the process while all its threads wait. */
    struct itimerval soon = {.it_value = {0, 50000}};
    struct sigaction action = {.sa_handler = note};
    sigaction(SIGALRM, &action, NULL);
    handled = 0;
    setitimer(ITIMER_REAL, &soon, NULL);
    long result = futex(&word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    say("a timer: %ld, handled %d", result, handled);
}

static void timeouts(void)
{
    struct timespec relative = {0, 80000000}, at = in(CLOCK_MONOTONIC, 80), real = in(CLOCK_REALTIME, 80);
    struct {
        int op;
        struct timespec *timeout;
    } cases[] = {{FUTEX_WAIT_PRIVATE, &relative},
                 {FUTEX_WAIT_BITSET_PRIVATE, &at},
                 {FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, &real}};
    for (int i = 0; i < 3; i++) {
        struct timespec fresh = i == 0 ? relative : in(i == 1 ? CLOCK_MONOTONIC : CLOCK_REALTIME, 80);
        long start = milliseconds(CLOCK_MONOTONIC);
        long result = futex(&word, cases[i].op, 0, &fresh, NULL, ~0u);
        long took = milliseconds(CLOCK_MONOTONIC) - start;
        say("timeout %d: %ld, in time %d", i, result, took >= 78 && took < 1000);
    }
    struct timespec past = {1, 0}, wild = {0, 1000000000}, negative = {-1, 0};
    SHOW(-futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, &past, NULL, ~0u) == ETIMEDOUT);
    SHOW(-futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, &wild, NULL, ~0u) == EINVAL);
    SHOW(-futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, &negative, NULL, ~0u) == EINVAL);
    SHOW(-futex(&word, FUTEX_WAIT_PRIVATE, 0, &negative, NULL, ~0u) == EINVAL);
    SHOW(-futex(&word, FUTEX_WAIT_PRIVATE, 1, &negative, NULL, ~0u) == EINVAL);
    SHOW(-futex(&word, FUTEX_WAIT_PRIVATE, 0, (void *)8, NULL, ~0u) == EFAULT);
    SHOW(-futex(&word, FUTEX_WAIT_PRIVATE | FUTEX_CLOCK_REALTIME, 0, NULL, NULL, 0) == ENOSYS);
    SHOW(-futex(&word, FUTEX_WAKE_PRIVATE | FUTEX_CLOCK_REALTIME, 0, NULL, NULL, 0) == ENOSYS);
}

static void stopped(int op)
{
    /* A child stops and continues its parent while that waits: what was left of the time before is left after. */
    fflush(stdout);
    pid_t parent = getpid(), child = MUST(fork());
    if (child == 0) {
        pause_ms(60);
        kill(parent, SIGSTOP);
        pause_ms(400);
        kill(parent, SIGCONT);
        _exit(0);
    }
    struct timespec relative = {1, 0}, at = in(CLOCK_MONOTONIC, 1000);
    long start = milliseconds(CLOCK_MONOTONIC);
    long result = futex(&word, op, 0, op == FUTEX_WAIT_PRIVATE ? &relative : &at, NULL, ~0u);
    long took = milliseconds(CLOCK_MONOTONIC) - start;
    while (waitpid(child, NULL, 0) == -1)
        ;
    say("stopped and continued: %ld, in time %d", result, took >= 998 && took < 1350);
}

static void addresses(void)
{
    unsigned char *page = MUST(mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    unsigned char *shared = MUST(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    munmap(page + 4096, 4096);
    unsigned add = FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_GT, 0);
    SHOW(futex(page, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0));
    SHOW(futex(page, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
    SHOW(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, page, add));
    SHOW(futex(page + 4096, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0));
    SHOW(futex(page + 4096, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
    SHOW(futex(page + 4096, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)1, &second, 0));
    SHOW(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, page + 4096, add));
    SHOW(futex(page + 2, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0));
    SHOW(futex(page + 2, FUTEX_WAKE_PRIVATE, 0, NULL, NULL, 0));
    SHOW(futex(NULL, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0));
    SHOW(futex((void *)-4096l, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0));
    SHOW(futex((void *)-4096l, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
    SHOW(futex(&word, FUTEX_REQUEUE_PRIVATE, -1, (void *)1, &second, 0));
    SHOW(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &second, FUTEX_OP(9, 0, 9, 0)));
    /* By its address, even in memory that is shared: the other kind of futex at the same word is another one. */
    struct waiter w;
    begin(&w, FUTEX_WAIT_PRIVATE, (unsigned *)shared, NULL, 0);
    SHOW(futex(shared, FUTEX_WAKE, 9, NULL, NULL, 0));
    SHOW(futex(shared, FUTEX_WAKE_PRIVATE, 9, NULL, NULL, 0));
    SHOW(end(&w));
    begin(&w, FUTEX_WAIT, &word, NULL, 0);
    SHOW(futex(&word, FUTEX_WAKE_PRIVATE, 9, NULL, NULL, 0));
    SHOW(futex(&word, FUTEX_WAKE, 9, NULL, NULL, 0));
    SHOW(end(&w));
}

static void many(void)
{
    struct waiter w[8];
    for (int i = 0; i < 8; i++)
        begin(&w[i], FUTEX_WAIT_BITSET_PRIVATE, &word, NULL, 1 << i);
    SHOW(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 9, NULL, NULL, 1 << 3 | 1 << 9));
    SHOW(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 2, (void *)2, &second, 1));
    SHOW(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 2, (void *)2, &second, 0));
    SHOW(futex(&word, FUTEX_REQUEUE_PRIVATE, 0, (void *)1, &second, 0));
    SHOW(futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
    second = 5;
    unsigned add = FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 5);
    SHOW(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)2, &second, add));
    say("the second word is %u", second);
    SHOW(futex(&second, FUTEX_WAKE_PRIVATE, 9, NULL, NULL, 0));
    SHOW(futex(&word, FUTEX_WAKE_PRIVATE, 9, NULL, NULL, 0));
    long bad = 0;
    for (int i = 0; i < 8; i++)
        bad += end(&w[i]) != 0;
    say("%ld had another result", bad);
    second = 0;
}

enum { THREADS = 4, ROUNDS = 20000 };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long counter, turn;
static void *locks(void *argument)
{
    for (int i = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&lock);
        counter++;
        if (i % 64 == 0)
            sched_yield();
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}
static volatile int over;
static void *takes_turns(void *argument)
{
    long me = (long)argument;
    pthread_mutex_lock(&lock);
    while (!over) {
        if (turn % 2 == me) {
            turn++;
            pthread_cond_broadcast(&changed);
        }
        pthread_cond_wait(&changed, &lock);
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}
static void *disturbs(void *argument)
{
    pthread_t *others = argument;
    while (!over) {
        for (int i = 0; i < THREADS; i++)
            pthread_kill(others[i], SIGUSR1);
        pause_ms(1);
    }
    return NULL;
}
static void crowd(void)
{
    pthread_t t[THREADS], d;
    on_signal(0);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&t[i], NULL, locks, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    say("counted %ld", counter);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&t[i], NULL, takes_turns, (void *)(long)(i % 2));
    pthread_create(&d, NULL, disturbs, t);
    pause_ms(300);
    pthread_mutex_lock(&lock);
    over = 1;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    pthread_join(d, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    say("took turns %d, disturbed %d", turn > 100, handled > 0);
}

int main(void)
{
    /* So that the sites are known for those that come often. */
    for (int i = 0; i < 500; i++)
        futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    signals();
    timeouts();
    stopped(FUTEX_WAIT_PRIVATE);
    stopped(FUTEX_WAIT_BITSET_PRIVATE);
    addresses();
    many();
    crowd();
    return 0;
}
