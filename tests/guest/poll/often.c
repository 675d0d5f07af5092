/* epoll_ctl made so often that somebody else may note it and do it later: nobody can tell when it was done. */
#include "often.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

enum { FILES = 12 };
static int e, ends[FILES][2], fresh;
static uint64_t seed = 88172645463325252u;

static unsigned random_below(unsigned n)
{
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return (seed >> 11) % n;
}

static int change(int set, int op, int fd, uint32_t events, uint32_t data)
{
    struct epoll_event event = {events, {.u32 = data}};
    return epoll_ctl(set, op, fd, &event);
}

static void to_and_fro(void)
{
    for (int i = 0; i < FILES; i++) {
        change(e, EPOLL_CTL_ADD, ends[i][0], EPOLLIN, i);
        change(e, EPOLL_CTL_MOD, ends[i][0], EPOLLIN | EPOLLOUT, i);
        change(e, EPOLL_CTL_DEL, ends[i][0], 0, 0);
    }
    struct epoll_event event;
    epoll_wait(e, &event, 1, 0);
}

/* So that it is done by whoever notes it, again. */
static void again(void)
{
    for (int i = 0; i < 40; i++)
        to_and_fro();
}

static int by_data(const void *a, const void *b)
{
    const struct epoll_event *x = a, *y = b;
    return (x->data.u32 > y->data.u32) - (x->data.u32 < y->data.u32);
}

/* What is ready, by its data. */
static int ready(int set, int ms)
{
    struct epoll_event events[2 * FILES];
    int n = epoll_wait(set, events, 2 * FILES, ms);
    qsort(events, n > 0 ? n : 0, sizeof *events, by_data);
    printf("%d:", n);
    for (int i = 0; i < n; i++)
        printf(" %u=%#x", events[i].data.u32, events[i].events);
    say("%s", "");
    return n;
}

static int by_value(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* What is watched, as the kernel tells. */
static void watched(void)
{
    char name[64], text[8192], *lines[64];
    snprintf(name, sizeof name, "/proc/self/fdinfo/%d", e);
    int fd = MUST(open(name, O_RDONLY)), count = 0;
    ssize_t n = MUST(read(fd, text, sizeof text - 1));
    text[n] = 0;
    close(fd);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char *end = strstr(line, " data:");
        if (strncmp(line, "tfd:", 4) == 0 && end && count < 64) {
            int which = 0, fd = atoi(line + 4);
            while (which < FILES && ends[which][0] != fd)
                which++;
            *end = 0;
            line = strstr(line, "events:");
            line[-1] = 'a' + which;
            lines[count++] = line - 1;
        }
    }
    qsort(lines, count, sizeof *lines, by_value);
    for (int i = 0; i < count; i++)
        say("  %s", lines[i]);
}

/* A file of some kind with something to read, or without. */
static void open_ends(int i, int full)
{
    if (i % 3 == 0) {
        MUST(pipe2(ends[i], O_NONBLOCK));
    } else if (i % 3 == 1) {
        MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends[i]));
    } else {
        ends[i][0] = MUST(eventfd(0, EFD_NONBLOCK));
        ends[i][1] = MUST(dup(ends[i][0]));
    }
    if (full)
        MUST(write(ends[i][1], "abcdefgh", 8));
}

static void reset(void)
{
    for (int i = 0; i < FILES; i++) {
        close(ends[i][0]);
        close(ends[i][1]);
        open_ends(i, i < FILES / 2);
    }
    close(e);
    e = MUST(epoll_create1(0));
    again();
}

/* Each kind of change in each state, and all that can come between them. */
static void whatever(void)
{
    static const uint32_t kinds[] = {EPOLLIN, EPOLLIN | EPOLLOUT, EPOLLOUT, EPOLLIN | EPOLLET,
                                     EPOLLIN | EPOLLONESHOT, EPOLLIN | EPOLLOUT | EPOLLET, 0,
                                     EPOLLIN | EPOLLRDHUP | EPOLLWAKEUP, EPOLLIN | EPOLLEXCLUSIVE};
    uint64_t hash = 0;
    for (int round = 0; round < 20000; round++) {
        int i = random_below(FILES), fd = ends[i][0], answer = 0;
        char buffer[8];
        switch (random_below(12)) {
        case 0:
        case 1:
        case 2:
        case 3:
        case 4:
        case 5:
            answer = change(e, 1 + random_below(3), fd, kinds[random_below(random_below(20) ? 8 : 9)], i);
            break;
        case 6:
            answer = write(ends[i][1], "abcdefgh", 8);
            break;
        case 7:
            answer = read(fd, buffer, 8);
            break;
        case 8:
            if (random_below(8) == 0) {
                close(ends[i][0]);
                close(ends[i][1]);
                open_ends(i, random_below(2));
            } else if (random_below(8) == 0) {
                int other = ends[random_below(FILES)][0];
                if (other != fd)
                    answer = dup2(other, fd) == fd;
            }
            break;
        case 9:
            answer = change(random_below(9) ? 999 : ends[0][0], 1 + random_below(3), fd, EPOLLIN, i);
            break;
        case 10:
            if (random_below(2))
                answer = epoll_ctl(e, 1 + 2 * random_below(2), fd, (void *)16);
            else
                answer = change(e, 1 + random_below(3), random_below(2) ? 959 : 98765, EPOLLIN, i);
            break;
        default: {
            struct epoll_event events[2 * FILES];
            answer = epoll_wait(e, events, 2 * FILES, 0);
            qsort(events, answer > 0 ? answer : 0, sizeof *events, by_data);
            for (int k = 0; k < answer; k++)
                hash = hash * 1000003 + events[k].events * 64 + events[k].data.u32;
        }
        }
        hash = hash * 1000003 + (answer < 0 ? 1000 + errno : answer);
        if (round % 2000 == 1999) {
            say("after %d: %016lx", round + 1, (unsigned long)hash);
            watched();
        }
    }
}

static void look(void)
{
    ready(e, 0);
}

static void look_by_poll(void)
{
    struct pollfd p = {e, POLLIN, 0};
    SHOW(poll(&p, 1, 0));
}

static void close_one(void)
{
    close(fresh);
}

static int outer;
static void look_by_outer(void)
{
    ready(outer, 0);
}

/* Whoever looks sees what was noted just before. */
static void others_see(void)
{
    outer = MUST(epoll_create1(0));
    MUST(change(outer, EPOLL_CTL_ADD, e, EPOLLIN, 77));
    void (*ways[])(void) = {look, look_by_poll, look_by_outer, watched};
    for (int way = 0; way < 4; way++) {
        for (int who = 0; who < 3; who++) {
            if (way != 2)
                reset();
            say("way %d by %d", way, who);
            change(e, EPOLL_CTL_ADD, ends[0][0], EPOLLIN, 0);
            change(e, EPOLL_CTL_ADD, ends[FILES - 1][0], EPOLLIN, 1);
            by_whom(who, ways[way]);
            change(e, EPOLL_CTL_DEL, ends[0][0], 0, 0);
            by_whom(who, ways[way]);
            change(e, EPOLL_CTL_DEL, ends[FILES - 1][0], 0, 0);
        }
        if (way == 1) {
            reset();
            MUST(change(outer, EPOLL_CTL_ADD, e, EPOLLIN, 77));
        }
    }
}

static void wait_long(void)
{
    ready(e, 20000);
}

static void *wait_thread(void *unused)
{
    wait_long();
    return unused;
}

/* Somebody who waits wakes up, whoever puts in what is ready. */
static void waiters_wake(void)
{
    for (int threads = 0; threads < 2; threads++) {
        for (int op = 0; op < 2; op++) {
            reset();
            if (op)
                change(e, EPOLL_CTL_ADD, ends[0][0], 0, 5);
            pthread_t t;
            pid_t child = 0;
            fflush(stdout);
            if (threads)
                pthread_create(&t, NULL, wait_thread, NULL);
            else if ((child = MUST(fork())) == 0)
                wait_long(), _exit(0);
            pause_ms(100);
            int answer = change(e, op ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, ends[0][0], EPOLLIN, 6);
            if (threads)
                pthread_join(t, NULL);
            else
                MUST(waitpid(child, NULL, 0));
            say("changed: %d", answer);
        }
    }
}

/* What a process noted stays when it ends or runs another program. */
static void ends_keep(void)
{
    for (int how = 0; how < 3; how++) {
        reset();
        fflush(stdout);
        pid_t child = MUST(fork());
        if (child == 0) {
            again();
            change(e, EPOLL_CTL_ADD, ends[0][0], EPOLLIN, 9);
            if (how == 0)
                execl("/bin/true", "true", NULL);
            else if (how == 1)
                kill(getpid(), SIGKILL);
            _exit(0);
        }
        MUST(waitpid(child, NULL, 0));
        look();
    }
}

/* Descriptors that are closed, by whomever, or name something else. */
static void descriptors_go(void)
{
    for (int who = 0; who < 2; who++) {
        reset();
        int kept = MUST(dup(ends[0][0]));
        fresh = ends[0][0];
        SHOW(change(e, EPOLL_CTL_ADD, fresh, EPOLLIN, 3));
        by_whom(who, close_one);
        look();
        SHOW(change(e, EPOLL_CTL_DEL, fresh, 0, 0));
        SHOW(change(e, EPOLL_CTL_ADD, fresh, EPOLLIN, 3));
        MUST(dup2(ends[FILES - 1][0], fresh));
        SHOW(change(e, EPOLL_CTL_MOD, fresh, EPOLLIN, 4));
        SHOW(change(e, EPOLL_CTL_ADD, fresh, EPOLLIN, 4));
        look();
        MUST(dup2(kept, fresh));
        SHOW(change(e, EPOLL_CTL_ADD, fresh, EPOLLIN, 5));
        SHOW(change(e, EPOLL_CTL_DEL, fresh, EPOLLIN, 5));
        look();
        close(kept);

        int other = MUST(dup(e)), number = e;
        change(e, EPOLL_CTL_ADD, ends[1][0], EPOLLIN, 8);
        close(e);
        SHOW(change(e, EPOLL_CTL_ADD, ends[2][0], EPOLLIN, 8));
        SHOW(change(e, EPOLL_CTL_DEL, ends[1][0], EPOLLIN, 8));
        e = other;
        look();
        SHOW(change(e, EPOLL_CTL_ADD, ends[2][0], EPOLLIN, 9));
        SHOW(change(e, EPOLL_CTL_DEL, ends[1][0], EPOLLIN, 8));
        look();
        MUST(dup2(e, number));
        e = number;
        close(other);
    }
}

static volatile int interrupts;
static void on_alarm(int signo)
{
    int kept = errno;
    /* The same set and descriptor as whatever was interrupted. */
    change(e, EPOLL_CTL_DEL, ends[0][0], 0, 0);
    if (change(e, EPOLL_CTL_ADD, ends[0][0], EPOLLIN, 0) == 0)
        interrupts++;
    errno = kept + 0 * signo;
}

static void signals_come_between(void)
{
    reset();
    signal(SIGALRM, on_alarm);
    struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &often, NULL);
    double until = now() + 1;
    while (now() < until)
        to_and_fro();
    setitimer(ITIMER_REAL, &never, NULL);
    signal(SIGALRM, SIG_DFL);
    say("interrupts: %s", interrupts > 100 ? "many" : "few");
    for (int i = 0; i < FILES; i++)
        change(e, EPOLL_CTL_DEL, ends[i][0], 0, 0);
    watched();
    change(e, EPOLL_CTL_ADD, ends[0][0], EPOLLIN, 1);
    look();
}

static void *one_of_many(void *which)
{
    int i = (int)(intptr_t)which;
    double until = now() + 0.6;
    while (now() < until) {
        if (change(e, EPOLL_CTL_ADD, ends[i][0], EPOLLIN, i) != 0)
            return "add";
        if (change(e, EPOLL_CTL_MOD, ends[i][0], EPOLLIN | EPOLLOUT, i) != 0)
            return "modify";
        if (change(e, EPOLL_CTL_DEL, ends[i][0], 0, 0) != 0)
            return "remove";
    }
    change(e, EPOLL_CTL_ADD, ends[i][0], EPOLLIN, i);
    return "done";
}

/* Many threads change one set. */
static void threads_share(void)
{
    reset();
    pthread_t threads[4];
    for (intptr_t i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, one_of_many, (void *)i);
    for (int i = 0; i < 4; i++) {
        void *how;
        pthread_join(threads[i], &how);
        say("thread %d: %s", i, (char *)how);
    }
    watched();
    look();
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    e = MUST(epoll_create1(0));
    for (int i = 0; i < FILES; i++)
        open_ends(i, i < FILES / 2);
    warm(to_and_fro);
    to_and_fro();
    watched();
    whatever();
    others_see();
    waiters_wake();
    ends_keep();
    descriptors_go();
    signals_come_between();
    threads_share();
    return 0;
}
