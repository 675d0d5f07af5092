/* What a hostile argument looks like: numbers, addresses, and structures that are nearly right. */
#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#include <netinet/in.h>

typedef uint64_t u64;

/* Where pointers mostly lead: pages of all kinds, whose contents a second thread rewrites. */
#define ARENA 0x10000000UL
#define PAGES 64
#define PAGE 4096UL

struct rng {
    u64 state;
    int depth;     /* how many forks above */
    int thread;    /* which thread of its process */
};

static inline u64 next(struct rng *r)
{
    u64 z = r->state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static inline u64 below(struct rng *r, u64 n)
{
    return next(r) % n;
}

static inline int chance(struct rng *r, int percent)
{
    return below(r, 100) < (u64)percent;
}

static inline long raw(long n, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
    register u64 r10 __asm__("r10") = d;
    register u64 r8 __asm__("r8") = e;
    register u64 r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

/* Maps the arena anew: most pages writable, some not, some absent, some of a file that is shorter than its mapping. */
static inline void lay_out_arena(void)
{
    raw(SYS_mmap, ARENA, PAGES * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    raw(SYS_mprotect, ARENA + 48 * PAGE, PAGE, PROT_READ, 0, 0, 0);
    raw(SYS_mprotect, ARENA + 50 * PAGE, PAGE, PROT_NONE, 0, 0, 0);
    raw(SYS_munmap, ARENA + 52 * PAGE, PAGE, 0, 0, 0, 0);
    long fd = raw(SYS_memfd_create, (u64) "short", 0, 0, 0, 0, 0);
    if (fd >= 0) {
        raw(SYS_ftruncate, fd, 2 * PAGE, 0, 0, 0, 0);
        raw(SYS_mmap, ARENA + 54 * PAGE, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
        raw(SYS_ftruncate, fd, PAGE / 2, 0, 0, 0, 0);
        raw(SYS_close, fd, 0, 0, 0, 0, 0);
    }
    raw(SYS_mmap, ARENA + 58 * PAGE, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static inline u64 number(struct rng *r)
{
    static const u64 edges[] = {0, 1, 2, 3, 7, 8, 16, 63, 64, 255, 256, 1023, 4095, 4096, 4097, 65535, 65536, 1 << 20,
                                0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 0x7fffffffffffffff, 0x8000000000000000,
                                (u64)-1, (u64)-2, (u64)-4096, (u64)-100, 0x7ffffffffffff000, 1000000000, 999999999};
    switch (below(r, 6)) {
    case 0:
        return next(r);
    case 1:
        return below(r, 64);
    case 2:
        return 1UL << below(r, 64);
    case 3:
        return next(r) >> below(r, 64);
    default:
        return edges[below(r, sizeof edges / sizeof *edges)];
    }
}

/* An address in the arena where a structure of some size can lie. */
static inline u64 place(struct rng *r)
{
    return ARENA + below(r, 48) * PAGE + (chance(r, 90) ? below(r, 480) * 8 : below(r, PAGE));
}

static inline u64 address(struct rng *r)
{
    static const u64 odd[] = {0, 1, 8, (u64)-1, (u64)-8, (u64)-4096, 0x7ffe00000000, 0x7ffdfffff000, 0x7ffdffffffff, 0x7fffffffeff8,
                              0x7ffffffff000, 0x800000000000, 0xffff800000000000, 0xffffffff80000000,
                              0xffffffffff600000, 0x7ffe01000000, 0x7ffe00100000, 0x10000, 0xfff, 0x400000, 0x401000};
    switch (below(r, 10)) {
    case 0:
        return odd[below(r, sizeof odd / sizeof *odd)] + (chance(r, 20) ? below(r, 1 << 26) : 0);
    case 1: /* a page of a kind of its own, or just before one */
        return ARENA + (48 + below(r, 16)) * PAGE - below(r, 24);
    case 2:
        return chance(r, 50) ? number(r) : (u64)&odd;
    default:
        return place(r);
    }
}

static inline u64 size(struct rng *r)
{
    return chance(r, 85) ? below(r, 3) ? below(r, 300) : below(r, 3 * PAGE) : number(r);
}

static inline u64 descriptor(struct rng *r)
{
    if (chance(r, 90))
        return 3 + below(r, 40);
    return chance(r, 50) ? (u64)AT_FDCWD : number(r);
}

/* Descriptors by kind, as they were when they were made. */
enum kind { SOCKETS, TERMINALS, EPOLLS, PIPES, FILES, KINDS };
static int known[KINDS][16];
static unsigned made[KINDS];

static inline long know(enum kind kind, long fd)
{
    if (fd >= 0)
        known[kind][made[kind]++ % 16] = fd;
    return fd;
}

static inline u64 descriptor_of(struct rng *r, enum kind kind)
{
    unsigned n = made[kind] < 16 ? made[kind] : 16;
    return n && chance(r, 85) ? (u64)known[kind][below(r, n)] : descriptor(r);
}

static inline u64 signal_number(struct rng *r)
{
    return chance(r, 95) ? below(r, 66) : number(r);
}

/* Somebody: oneself, a relative, nobody. Never process 1, which watches. */
static inline u64 process(struct rng *r)
{
    switch (below(r, 8)) {
    case 0:
        return 0;
    case 1:
        return raw(SYS_getppid, 0, 0, 0, 0, 0, 0) == 1 ? 2 : raw(SYS_getppid, 0, 0, 0, 0, 0, 0);
    case 2:
        return 2 + below(r, 30);
    case 3: {
        u64 n = number(r);
        return (int)n == 1 ? 2 : n;
    }
    case 4:
        return raw(SYS_gettid, 0, 0, 0, 0, 0, 0);
    default:
        return raw(SYS_getpid, 0, 0, 0, 0, 0, 0);
    }
}

static inline void put(u64 at, const void *from, u64 n)
{
    /* The page may be gone or read-only: the handler of SIGSEGV lays the arena out anew. */
    volatile char *to = (volatile char *)at;
    const char *f = from;
    for (u64 i = 0; i < n; i++)
        to[i] = f[i];
}

static inline u64 words(struct rng *r, u64 n)
{
    u64 at = place(r);
    for (u64 i = 0; i < n; i++) {
        u64 w = chance(r, 50) ? number(r) : address(r);
        put(at + 8 * i, &w, 8);
    }
    return at;
}

static inline u64 file_name(struct rng *r)
{
    static const char *const names[] = {
        "a", "b", "c", "d", "d/a", "d/b", "d/d", "d/d/c", "l", "l/a", "..", ".", "../..", "d/../a", "", "/", "//", "a/", "fifo", "sock",
        "/proc/self/fd/3", "/proc/self/fd/5", "/proc/self/fd", "/proc/self/mem", "/proc/self/maps", "/proc/self/exe", "/proc/self/root",
        "/proc/self/cwd/a", "/proc/self/task", "/proc/self/status", "/proc/self/stat", "/proc/self/environ", "/proc/thread-self/comm", "/proc/2/maps",
        "/proc/self/oom_score_adj", "/proc/self/comm", "/proc/self/mountinfo", "/proc/self/fdinfo/4", "/proc/self/setgroups",
        "/proc/stat", "/proc/meminfo", "/proc/net/tcp", "/proc/net/unix", "/proc/sys/kernel/pid_max", "/proc/sys/kernel/hostname", "/proc/mounts",
        "/proc/sys/fs/file-max", "/proc/sys/net/ipv4/ip_local_port_range", "/sys", "/sys/devices/system/cpu/online", "/sys/class/net", "/dev/null", "/dev/zero",
        "/dev/full", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/pts/0", "/dev/pts/1", "/dev/pts/ptmx", "/dev/shm/x", "/dev/mqueue", "/dev/fd/4",
        "/etc/passwd", "/usr/bin/true", "/bin/sh", "/tmp", "/lib64", "/usr/lib", "#!", "system.posix_acl_access", "user.x", "security.capability",
        "trusted.y", "user.", "tmpfs", "proc", "size=1k", "/dev/mqueue/q", "q", "eth0", "lo",
    };
    u64 at = place(r);
    if (chance(r, 88)) {
        const char *n = names[below(r, chance(r, 60) ? 20 : sizeof names / sizeof *names)];
        put(at, n, strlen(n) + 1);
        return at;
    }
    if (chance(r, 30))
        return address(r);
    /* Long: many components, one long component, or one without an end. */
    u64 n = below(r, 6) ? below(r, 300) : below(r, 5000);
    char fill = "a/.d"[below(r, 4)];
    for (u64 i = 0; i < n; i++) {
        char c = chance(r, 10) ? '/' : chance(r, 2) ? (char)next(r) : fill;
        put(at + i, &c, 1);
    }
    put(at + n, "", 1);
    return at;
}

static inline u64 timespec(struct rng *r, int quick)
{
    if (chance(r, 8))
        return address(r);
    u64 at = place(r);
    u64 t[4] = {0, below(r, 3000000), 0, below(r, 3000000)};
    if (!quick)
        t[0] = t[2] = 0, t[1] = below(r, 2000000), t[3] = below(r, 2000000);
    for (int i = 0; i < 4; i++)
        if (chance(r, 10))
            t[i] = number(r);
    put(at, t, sizeof t);
    return at;
}

static inline u64 vectors(struct rng *r, u64 *count)
{
    u64 n = chance(r, 85) ? below(r, 5) : number(r);
    u64 at = place(r);
    for (u64 i = 0; i < n && i < 5; i++) {
        u64 v[2] = {address(r), size(r)};
        put(at + 16 * i, v, sizeof v);
    }
    *count = n;
    return chance(r, 95) ? at : address(r);
}

static inline u64 socket_address(struct rng *r, u64 *length)
{
    union {
        struct sockaddr_un un;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        uint32_t nl[3];
        unsigned char bytes[128];
    } a;
    memset(&a, 0, sizeof a);
    u64 n = sizeof a.in;
    static const int families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_UNSPEC, AF_PACKET};
    a.un.sun_family = families[below(r, 6)];
    switch (a.un.sun_family) {
    case AF_UNIX: {
        static const char *const names[] = {"sock", "\0abstract", "\0b", "", "d/sock", "a", "/dev/null"};
        u64 which = below(r, 7);
        n = 2 + (which == 1 ? 9 : which == 2 ? 2 : strlen(names[which]) + below(r, 2));
        memcpy(a.un.sun_path, names[which], n - 2);
        if (chance(r, 5))
            memset(a.un.sun_path, 'x', sizeof a.un.sun_path), n = below(r, 128);
        break;
    }
    case AF_INET:
        a.in.sin_addr.s_addr = htonl(chance(r, 80) ? INADDR_LOOPBACK : (uint32_t)next(r));
        a.in.sin_port = htons(chance(r, 90) ? 7000 + below(r, 8) : next(r));
        break;
    case AF_INET6:
        a.in6.sin6_addr = chance(r, 80) ? in6addr_loopback : in6addr_any;
        if (chance(r, 10))
            a.in6.sin6_addr.s6_addr[10] = a.in6.sin6_addr.s6_addr[11] = 0xff;
        a.in6.sin6_port = htons(chance(r, 90) ? 7000 + below(r, 8) : next(r));
        a.in6.sin6_scope_id = below(r, 3);
        n = sizeof a.in6;
        break;
    case AF_NETLINK:
        a.nl[1] = chance(r, 80) ? 0 : next(r);
        a.nl[2] = chance(r, 80) ? 0 : next(r);
        n = 12;
        break;
    default:
        n = below(r, 32);
    }
    if (chance(r, 10))
        a.bytes[below(r, 64)] = next(r);
    *length = chance(r, 90) ? n : number(r);
    u64 at = place(r);
    put(at, &a, sizeof a);
    return chance(r, 95) ? at : address(r);
}

static inline u64 message(struct rng *r)
{
    struct msghdr m;
    memset(&m, 0, sizeof m);
    u64 n = 0;
    if (chance(r, 40)) {
        m.msg_name = (void *)socket_address(r, &n);
        m.msg_namelen = n;
    }
    m.msg_iov = (void *)vectors(r, &n);
    m.msg_iovlen = n;
    if (chance(r, 60)) {
        u64 at = place(r);
        u64 used = 0;
        int headers = 1 + below(r, 3);
        for (int i = 0; i < headers; i++) {
            int fds = below(r, 5);
            struct cmsghdr c = {CMSG_LEN(4 * fds), SOL_SOCKET, SCM_RIGHTS};
            if (chance(r, 25))
                c.cmsg_type = SCM_CREDENTIALS, c.cmsg_len = CMSG_LEN(12);
            if (chance(r, 10))
                c.cmsg_len = number(r);
            if (chance(r, 10))
                c.cmsg_level = below(r, 300), c.cmsg_type = below(r, 100);
            put(at + used, &c, sizeof c);
            for (int j = 0; j < 5; j++) {
                int fd = descriptor(r);
                put(at + used + sizeof c + 4 * j, &fd, 4);
            }
            used += CMSG_SPACE(4 * fds);
        }
        m.msg_control = (void *)at;
        m.msg_controllen = chance(r, 90) ? used : number(r);
    }
    m.msg_flags = number(r);
    u64 at = place(r);
    put(at, &m, sizeof m);
    return chance(r, 95) ? at : address(r);
}

/* A netlink request, and what looks like one. */
static inline u64 netlink(struct rng *r, u64 *length)
{
    uint32_t m[16];
    for (int i = 0; i < 16; i++)
        m[i] = chance(r, 60) ? 0 : number(r);
    u64 n = 16 + below(r, 48);
    m[0] = chance(r, 80) ? n : number(r);
    m[1] = (16 + below(r, 12)) | (chance(r, 60) ? 0x301 : below(r, 0x1000)) << 16;
    u64 at = place(r);
    put(at, m, sizeof m);
    *length = chance(r, 90) ? n : size(r);
    return at;
}

/* A classic BPF program for seccomp and for sockets. */
static inline u64 program(struct rng *r)
{
    struct {
        uint16_t code;
        uint8_t jt, jf;
        uint32_t k;
    } line;
    static const uint16_t codes[] = {0x20, 0x15, 0x25, 0x35, 0x45, 0x05, 0x06, 0x16, 0x04, 0x0c, 0x24, 0x34, 0x3c, 0x54, 0x64, 0x6c, 0x74, 0x84,
                                     0x00, 0x01, 0x02, 0x03, 0x07, 0x87, 0x60, 0x61, 0x80, 0x81, 0x94, 0xa4, 0x28, 0x30, 0x40};
    int n = 1 + below(r, 12);
    u64 at = place(r);
    for (int i = 0; i < n; i++) {
        line.code = chance(r, 97) ? codes[below(r, sizeof codes / 2)] : next(r);
        line.jt = below(r, n + 1);
        line.jf = below(r, n + 1);
        line.k = chance(r, 60) ? below(r, 17) * 4 : number(r);
        if (i == n - 1 && chance(r, 90))
            line.code = 0x06, line.k = chance(r, 80) ? 0x7fff0000 : (uint32_t)number(r);
        put(at + 8 * i, &line, 8);
    }
    struct {
        uint16_t len;
        u64 at;
    } head = {chance(r, 95) ? (u64)n : next(r), at};
    at = place(r);
    put(at, &head, sizeof head);
    return at;
}
