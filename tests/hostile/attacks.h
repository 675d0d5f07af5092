/* What takes more than one call: processes, programs and scripts that are not, forged signal frames, odd entries. */
#pragma once
#include "calls.h"
#include <elf.h>
#include <sys/ioctl.h>

static void run_calls(struct rng *r, u64 n);

static inline void set_alarm(void)
{
    u64 t[4] = {0, 5000, 0, 5000};
    raw(SYS_setitimer, ITIMER_REAL, (u64)t, 0, 0, 0, 0);
}

/* Goes on after a signal with registers, masks and a floating-point state that are not what they were. */
static inline void mutate_frame(int signal, siginfo_t *info, void *context)
{
    static u64 seeds;
    struct rng r = {seeds += (u64)context ^ signal, 9, 0};
    ucontext_t *u = context;
    u64 *words = (u64 *)u;
    int changes = 1 + below(&r, 3);
    for (int i = 0; i < changes; i++) {
        switch (below(&r, 6)) {
        case 0:
            u->uc_mcontext.gregs[below(&r, 23)] = chance(&r, 50) ? number(&r) : address(&r);
            break;
        case 1:
            words[below(&r, sizeof *u / 8)] = number(&r);
            break;
        case 2:
            if (u->uc_mcontext.fpregs)
                ((u64 *)u->uc_mcontext.fpregs)[below(&r, 100)] = number(&r);
            break;
        case 3:
            u->uc_mcontext.fpregs = (void *)address(&r);
            break;
        case 4:
            memset(&u->uc_sigmask, 0xff, 8);
            break;
        default:
            u->uc_mcontext.gregs[REG_CSGSFS] ^= 1UL << below(&r, 64);
        }
    }
}

static inline void forge_frame(struct rng *r)
{
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_sigaction = mutate_frame;
    a.sa_flags = SA_SIGINFO | (chance(r, 50) ? SA_ONSTACK : 0) | (chance(r, 30) ? SA_NODEFER : 0);
    sigaction(SIGUSR1, &a, NULL);
    sigaction(SIGILL, &a, NULL);
    if (chance(r, 50)) {
        raw(SYS_tkill, raw(SYS_gettid, 0, 0, 0, 0, 0, 0), SIGUSR1, 0, 0, 0, 0);
        return;
    }
    /* A frame from nothing. */
    u64 at = place(r) & ~7UL;
    for (int i = 0; i < 60; i++) {
        u64 w = chance(r, 40) ? 0 : chance(r, 50) ? number(r) : address(r);
        put(at + 8 * i, &w, 8);
    }
    __asm__ volatile("mov %0, %%rsp\n mov $15, %%eax\n syscall\n ud2" : : "r"(at) : "memory");
}

static inline void odd_entry(struct rng *r)
{
    u64 number_ = chance(r, 70) ? below(r, 460) : number(r);
    u64 a = address(r), b = address(r), out;
    switch (below(r, 8)) {
    case 0:
        __asm__ volatile("int $0x80" : "=a"(out) : "a"(number_), "b"(a), "c"(b), "d"(a) : "memory", "r8", "r9", "r10", "r11");
        break;
    case 1:
        __asm__ volatile("sysenter" : "=a"(out) : "a"(number_) : "memory", "rcx", "rdx");
        break;
    case 2: /* single-stepping over a system call, with the direction flag set */
        __asm__ volatile("pushf; orq $0x100, (%%rsp); popf; std; syscall; cld; pushf; andq $~0x100, (%%rsp); popf"
                         : "=a"(out) : "a"(SYS_getpid), "D"(a), "S"(b) : "memory", "rcx", "r11");
        break;
    case 3:
        __asm__ volatile("mov %w0, %%gs" : : "r"(below(r, 128)));
        break;
    case 4:
        raw(SYS_arch_prctl, 0x1001 + below(r, 4), address(r), 0, 0, 0, 0);
        break;
    case 5: /* where the platform may live, as code */
        ((void (*)(void))address(r))();
        break;
    case 6: /* no stack below a system call */
        __asm__ volatile("mov %%rsp, %%rbx; xor %%esp, %%esp; syscall; mov %%rbx, %%rsp"
                         : "=a"(out) : "a"(number_), "D"(a), "S"(b) : "memory", "rcx", "r11", "rbx");
        break;
    default: /* x32, negative and huge numbers */
        raw((0x40000000 | number_) ^ (chance(r, 50) ? 1UL << 63 : 0), a, b, a, b, a, b);
    }
}

/* A program of one page whose headers are nearly right. */
static inline void broken_program(struct rng *r)
{
    struct {
        Elf64_Ehdr head;
        Elf64_Phdr parts[6];
        char text[64];
    } f;
    memset(&f, 0, sizeof f);
    memcpy(f.head.e_ident, "\177ELF\2\1\1", 7);
    f.head.e_type = chance(r, 50) ? ET_EXEC : ET_DYN;
    f.head.e_machine = EM_X86_64;
    f.head.e_version = 1;
    f.head.e_entry = 0x20000000 + offsetof(__typeof__(f), text);
    f.head.e_phoff = sizeof f.head;
    f.head.e_ehsize = sizeof f.head;
    f.head.e_phentsize = sizeof *f.parts;
    f.head.e_phnum = 1 + below(r, 6);
    static const int types[] = {PT_LOAD, PT_INTERP, PT_TLS, PT_GNU_STACK, PT_PHDR, PT_NOTE, PT_GNU_RELRO, PT_LOAD};
    for (int i = 0; i < 6; i++) {
        Elf64_Phdr *p = &f.parts[i];
        p->p_type = i ? types[below(r, 8)] : PT_LOAD;
        p->p_flags = 5 | (i ? below(r, 8) : 0);
        p->p_vaddr = 0x20000000 + i * 0x10000;
        p->p_filesz = p->p_memsz = i ? below(r, 8192) : sizeof f;
        p->p_memsz += i ? below(r, 1 << 20) : 0;
        p->p_align = 0x1000;
        if (p->p_type == PT_INTERP)
            p->p_offset = offsetof(__typeof__(f), text) + 32, p->p_filesz = 8;
    }
    memcpy(f.text, "\xb8\x3c\0\0\0\x31\xff\x0f\x05", 9);
    memcpy(f.text + 32, chance(r, 50) ? "./elf\0\0" : "/lib64\0", 8);
    int changes = below(r, 4);
    for (int i = 0; i < changes; i++) {
        u64 w = number(r);
        memcpy((char *)&f + below(r, sizeof f - 8), &w, 1 + below(r, 8));
    }
    long fd = raw(SYS_open, (u64) "elf", O_RDWR | O_CREAT, 0755, 0, 0, 0);
    raw(SYS_write, fd, (u64)&f, chance(r, 90) ? sizeof f : below(r, sizeof f), 0, 0, 0);
    if (chance(r, 30)) {
        const char script[] = "#!./script x\n#!/proc/self/exe";
        raw(SYS_ftruncate, fd, 0, 0, 0, 0, 0);
        raw(SYS_pwrite64, fd, (u64)script, below(r, sizeof script), 0, 0, 0);
        raw(SYS_link, (u64) "elf", (u64) "script", 0, 0, 0, 0);
    }
    raw(SYS_fchmod, fd, 0755, 0, 0, 0, 0);
    if (chance(r, 90))
        raw(SYS_close, fd, 0, 0, 0, 0, 0);
    const char *argv[] = {"elf", chance(r, 50) ? (char *)address(r) : "x", NULL};
    raw(SYS_execve, (u64) "elf", (u64)argv, chance(r, 50) ? (u64)argv : address(r), 0, 0, 0);
}

/* This program again, as a child of the same depth. */
static inline void run_again(struct rng *r)
{
    char seed[32], depth[32];
    snprintf(seed, sizeof seed, "%lu", next(r));
    snprintf(depth, sizeof depth, "%d", r->depth + 1);
    const char *argv[] = {"hostile", "child", seed, "0", depth, NULL};
    const char *path = chance(r, 50) ? "/proc/self/exe" : "./program";
    raw(SYS_execve, (u64)path, (u64)argv, 0, 0, 0, 0);
}

static inline void new_process(struct rng *r)
{
    if (r->depth >= 3)
        return;
    u64 flags = SIGCHLD;
    if (chance(r, 60)) {
        static const u64 some[] = {CLONE_FS, CLONE_FILES, CLONE_SIGHAND | CLONE_VM, CLONE_VM | CLONE_VFORK, CLONE_PARENT, CLONE_PARENT_SETTID,
                                   CLONE_CHILD_SETTID, CLONE_CHILD_CLEARTID, CLONE_PIDFD, CLONE_THREAD | CLONE_SIGHAND | CLONE_VM, CLONE_VFORK,
                                   CLONE_SYSVSEM, CLONE_SETTLS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_UNTRACED, CLONE_PTRACE, CLONE_IO, CLONE_VM};
        int n = 1 + below(r, 3);
        for (int i = 0; i < n; i++)
            flags |= some[below(r, sizeof some / sizeof *some)];
        if (chance(r, 30))
            flags = (flags & ~0xffUL) | below(r, 70);
        if (chance(r, 5))
            flags = number(r);
    }
    u64 stack = 0;
    if (flags & CLONE_VM || chance(r, 5)) {
        if (flags & CLONE_VFORK && chance(r, 70))
            stack = 0;
        else if (chance(r, 60))
            flags &= ~(u64)(CLONE_VM | CLONE_THREAD | CLONE_SIGHAND);
        else
            stack = place(r) & ~15UL;
    }
    long made;
    u64 kept = r->state;
    if (chance(r, 30)) {
        u64 args[11] = {flags & ~0xffUL, address(r), address(r), address(r), flags & 0xff, stack ? stack - 256 : 0, stack ? 256 : 0, address(r), 0, 0, 0};
        if (chance(r, 10))
            args[below(r, 11)] = number(r);
        made = raw(435, (u64)args, chance(r, 90) ? 88 : below(r, 4100), 0, 0, 0, 0);
    } else {
        made = raw(SYS_clone, flags, stack, address(r), address(r), address(r), 0);
    }
    if (made != 0)
        return;
    struct rng mine = {kept * 31 + 7, r->depth + 1, r->thread};
    if (!stack && !(flags & CLONE_VM))
        set_alarm();
    switch (below(&mine, 8)) {
    case 0:
        forge_frame(&mine);
        break;
    case 1:
        broken_program(&mine);
        break;
    case 2:
        if (mine.depth < 2)
            run_again(&mine);
        break;
    case 3:
        for (int i = 0; i < 5; i++)
            odd_entry(&mine);
        break;
    default:
        break;
    }
    run_calls(&mine, 5 + below(&mine, 60));
    raw(chance(&mine, 50) ? SYS_exit : SYS_exit_group, below(&mine, 300), 0, 0, 0, 0, 0);
    __builtin_trap();
}

/* A descriptor of every kind there is. */
static inline void open_everything(struct rng *r)
{
    int two[2];
    raw(SYS_mkdir, (u64) "d", 0777, 0, 0, 0, 0);
    raw(SYS_symlink, (u64) "d", (u64) "l", 0, 0, 0, 0);
    raw(SYS_mknod, (u64) "fifo", S_IFIFO | 0666, 0, 0, 0, 0);
    static const struct {
        const char *name;
        int flags;
    } files[] = {
        {"a", O_RDWR | O_CREAT}, {"b", O_RDWR | O_CREAT | O_APPEND}, {"d/a", O_RDONLY | O_CREAT}, {"d", O_DIRECTORY}, {".", O_PATH},
        {"fifo", O_RDWR | O_NONBLOCK}, {"/dev/null", O_RDWR}, {"/dev/zero", O_RDWR}, {"/proc/self/mem", O_RDWR}, {"/proc/self/maps", O_RDONLY},
        {"/usr", O_DIRECTORY}, {"/etc/passwd", O_RDONLY}, {"/proc", O_DIRECTORY}, {"/dev/ptmx", O_RDWR | O_NOCTTY},
        {"/tmp", O_TMPFILE | O_RDWR}, {"/proc/mounts", O_RDONLY},
    };
    for (u64 i = 0; i < sizeof files / sizeof *files; i++) {
        long fd = raw(SYS_open, (u64)files[i].name, files[i].flags, 0666, 0, 0, 0);
        if (i < 2)
            know(FILES, fd);
        if (!strcmp(files[i].name, "/dev/ptmx") && fd >= 0) {
            int unlock = 0;
            raw(SYS_ioctl, fd, TIOCSPTLCK, (u64)&unlock, 0, 0, 0);
            know(TERMINALS, fd);
            know(TERMINALS, raw(SYS_ioctl, fd, TIOCGPTPEER, O_RDWR | O_NOCTTY, 0, 0, 0));
        }
    }
    for (int i = 0; i < 2; i++)
        if (raw(SYS_pipe2, (u64)two, chance(r, 50) ? O_NONBLOCK : 0, 0, 0, 0, 0) == 0)
            know(PIPES, two[0]), know(PIPES, two[1]);
    static const int kinds[][3] = {{AF_UNIX, SOCK_STREAM, 0}, {AF_UNIX, SOCK_DGRAM, 0}, {AF_UNIX, SOCK_SEQPACKET, 0}, {AF_INET, SOCK_STREAM, 0},
                                   {AF_INET, SOCK_DGRAM, 0}, {AF_INET6, SOCK_STREAM, 0}, {AF_INET6, SOCK_DGRAM, 0}, {AF_NETLINK, SOCK_RAW, 0}};
    for (int i = 0; i < 8; i++)
        know(SOCKETS, raw(SYS_socket, kinds[i][0], kinds[i][1] | (chance(r, 50) ? SOCK_NONBLOCK : 0), 0, 0, 0, 0));
    for (int i = 0; i < 3; i++)
        if (raw(SYS_socketpair, AF_UNIX, kinds[i][1] | (chance(r, 50) ? SOCK_NONBLOCK : 0), 0, (u64)two, 0, 0) == 0)
            know(SOCKETS, two[0]), know(SOCKETS, two[1]);
    for (int i = 0; i < 3; i++)
        know(EPOLLS, raw(SYS_epoll_create1, 0, 0, 0, 0, 0, 0));
    raw(SYS_eventfd2, 3, chance(r, 50) ? EFD_SEMAPHORE : 0, 0, 0, 0, 0);
    raw(SYS_timerfd_create, CLOCK_MONOTONIC, 0, 0, 0, 0, 0);
    raw(SYS_inotify_init1, 0, 0, 0, 0, 0, 0);
    u64 mask = -1;
    raw(SYS_signalfd4, -1, (u64)&mask, 8, 0, 0, 0);
    know(FILES, raw(SYS_memfd_create, (u64) "m", 3, 0, 0, 0, 0));
    raw(SYS_pidfd_open, raw(SYS_getpid, 0, 0, 0, 0, 0, 0), 0, 0, 0, 0, 0);
    raw(SYS_mq_open, (u64) "q", O_RDWR | O_CREAT, 0666, 0, 0, 0);
}

static inline void device_call(struct rng *r)
{
    static const unsigned calls_[] = {
        TCGETS, TCSETS, TCSETSW, TCSETSF, TCGETA, TCSETA, TCSBRK, TCXONC, TCFLSH, TIOCEXCL, TIOCNXCL, TIOCSCTTY, TIOCGPGRP, TIOCSPGRP, TIOCOUTQ,
        TIOCSTI, TIOCGWINSZ, TIOCSWINSZ, TIOCMGET, FIONREAD, TIOCPKT, FIONBIO, TIOCNOTTY, TIOCSETD, TIOCGETD, TCSBRKP, TIOCGSID, TIOCGPTN,
        TIOCSPTLCK, TIOCGPTPEER, TIOCVHANGUP, FIONCLEX, FIOCLEX, FIOASYNC, FIOQSIZE, 0x5600, 0x80047601, 0x6601, 0x40086602,
        0x8910, 0x8912, 0x8913, 0x8915, 0x8927, 0x8933, 0x8938, 0x8942, 0x8904, 0x8905, 0x8906, 0x5421, 0x40049409, 0xc0185879, 0x12};
    raw(SYS_ioctl, chance(r, 60) ? descriptor_of(r, TERMINALS) : descriptor(r), calls_[below(r, sizeof calls_ / 4)], chance(r, 70) ? words(r, 8) : chance(r, 50) ? address(r) : number(r), 0, 0, 0);
}

static inline void option_call(struct rng *r)
{
    static const int levels[] = {SOL_SOCKET, SOL_SOCKET, 0, 6, 17, 41, 270, 255};
    u64 level = levels[below(r, 8)], name = below(r, 80), at = words(r, 4), n = chance(r, 60) ? 4 : below(r, 64);
    if (chance(r, 60)) {
        raw(SYS_setsockopt, descriptor_of(r, SOCKETS), level, name, at, n, 0);
    } else {
        u64 length = place(r);
        put(length, &n, 4);
        raw(SYS_getsockopt, descriptor_of(r, SOCKETS), level, name, at, length, 0);
    }
}

static inline void queue_file(struct rng *r)
{
    /* Rings of epoll in epoll, sockets in sockets, pipes into themselves. */
    u64 event[2] = {EPOLLIN | EPOLLOUT | (chance(r, 50) ? EPOLLET : 0), next(r)};
    switch (below(r, 4)) {
    case 0:
        raw(SYS_epoll_ctl, descriptor_of(r, EPOLLS), EPOLL_CTL_ADD + below(r, 3), chance(r, 30) ? descriptor_of(r, EPOLLS) : descriptor(r), (u64)event, 0, 0);
        break;
    case 1: {
        char control[CMSG_SPACE(4)] = {0};
        struct iovec v = {control, 1};
        struct msghdr m = {NULL, 0, &v, 1, control, sizeof control, 0};
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        int fd = chance(r, 50) ? descriptor_of(r, SOCKETS) : descriptor(r);
        c->cmsg_len = CMSG_LEN(4);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        memcpy(CMSG_DATA(c), &fd, 4);
        raw(SYS_sendmsg, descriptor_of(r, SOCKETS), (u64)&m, MSG_DONTWAIT, 0, 0, 0);
        break;
    }
    case 2:
        raw(SYS_splice, descriptor_of(r, PIPES), 0, chance(r, 50) ? descriptor_of(r, PIPES) : descriptor(r), 0, below(r, 70000), chance(r, 80) ? SPLICE_F_NONBLOCK : 0);
        break;
    default: {
        u64 n;
        u64 at = socket_address(r, &n);
        u64 fd = descriptor_of(r, SOCKETS);
        raw(SYS_bind, fd, at, n, 0, 0, 0);
        raw(SYS_listen, fd, below(r, 5), 0, 0, 0, 0);
        raw(SYS_connect, descriptor_of(r, SOCKETS), at, n, 0, 0, 0);
        know(SOCKETS, raw(SYS_accept4, fd, 0, 0, SOCK_NONBLOCK, 0, 0));
    }
    }
}
