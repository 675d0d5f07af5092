/* NUMA policies of a machine with one node: kept and reported back; where pages are. */
#include "check.h"

enum { PAGE = 4096 };
#define SET(mode, mask, max) syscall(SYS_set_mempolicy, mode, mask, max)
#define BIND(at, len, mode, mask, flags) syscall(SYS_mbind, at, len, mode, mask, 64, flags)
#define MOVE(pid, count, pages, nodes, status, flags) \
    syscall(SYS_move_pages, pid, count, pages, nodes, status, flags)

static unsigned long one = 1, two = 2, none;

static void get(const char *what, void *at, long flags)
{
    int mode = 99;
    unsigned long mask = 7;
    if (syscall(SYS_get_mempolicy, &mode, &mask, 64, at, flags) < 0)
        say("%s: %s", what, strerrorname_np(errno));
    else
        say("%s: %#x on %#lx", what, mode, mask);
}

static void policies(void)
{
    static const int modes[] = {0, 1, 2, 3, 4, 5, 2 | 1 << 15, 3 | 1 << 14};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        int m = modes[i];
        int names = (m & 7) != 0 && (m & 7) != 4;
        say("mode %#x", m);
        SHOW(SET(m, names ? &one : NULL, 64));
        get("own", NULL, 0);
        get("next node", NULL, 1);
    }
    SHOW(SET(1, &none, 64));
    get("preferred, but none", NULL, 0);
    SHOW(SET(2, &two, 64));
    SHOW(SET(2, NULL, 0));
    SHOW(SET(0, &one, 64));
    SHOW(SET(2, 8, 64));
    SHOW(SET(2, &one, -1));
    SHOW(SET(3 | 1 << 13, &one, 64));
    SHOW(SET(2 | 3 << 14, &one, 64));
    SHOW(SET(2, &one, 64));
    if (fork() == 0) {
        get("child", NULL, 0);
        _exit(0);
    }
    wait(NULL);
    SHOW(SET(0, NULL, 0));
}

static void mappings(void)
{
    char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    p[0] = 1;
    get("fresh", p, 2);
    get("its node", p, 3);
    SHOW(BIND(p, 2 * PAGE, 2, &one, 0));
    get("bound", p, 2);
    get("behind", p + 2 * PAGE, 2);
    SHOW(BIND(p + PAGE, PAGE, 0, NULL, 0));
    get("unbound", p + PAGE, 2);
    SHOW(BIND(p + 1, PAGE, 2, &one, 0));
    SHOW(BIND(p, PAGE, 2, &one, 8));
    SHOW(BIND(p, 0, 2, &one, 0));
    SHOW(BIND(p, PAGE, 2, &two, 0));
    SHOW(munmap(p + 3 * PAGE, PAGE));
    SHOW(BIND(p, 4 * PAGE, 2, &one, 0));
    get("not mapped", p + 3 * PAGE, 2);
    get("address, but no flag", p, 0);
    get("allowed", NULL, 4);
    get("allowed and more", NULL, 6);

    int status[4] = {9, 9, 9, 9}, nodes[4] = {0, 0, 1, -1};
    void *pages[4] = {p, p + 2 * PAGE, p + 3 * PAGE, p};
    SHOW(MOVE(0, 4, pages, NULL, status, 0));
    say("%d %d %d %d", status[0], status[1], status[2], status[3]);
    SHOW(MOVE(0, 1, pages, nodes, status, 2));
    SHOW(MOVE(0, 1, pages, nodes + 2, status, 2));
    SHOW(MOVE(0, 1, pages, nodes + 3, status, 2));
    SHOW(MOVE(0, 1, pages, nodes, status, 1));
    SHOW(MOVE(999999, 1, pages, nodes, status, 2));
    SHOW(MOVE(0, 1, 8, nodes, status, 2));
    SHOW(MOVE(0, 1, pages, 8, status, 2));
    SHOW(MOVE(0, 1, pages, nodes, 8, 2));
    SHOW(MOVE(0, 0, pages, nodes, status, 2));
    SHOW(syscall(SYS_migrate_pages, 0, 64, &one, &one));
    SHOW(syscall(SYS_migrate_pages, 0, 64, &one, &two));
    SHOW(syscall(SYS_migrate_pages, 999999, 64, &one, &one));
    SHOW(syscall(SYS_migrate_pages, 0, 64, 8, &one));
    SHOW(syscall(450, p, PAGE, 0, 0)); /* set_mempolicy_home_node */
    SHOW(syscall(450, p, PAGE, 1, 0));
    SHOW(syscall(450, p, PAGE, 0, 1));
    SHOW(syscall(450, p + 1, PAGE, 0, 0));
}

int main(void)
{
    policies();
    mappings();
    return 0;
}
