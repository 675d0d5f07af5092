/* The calls, a line each: number, weight, and what its arguments look like. */
#pragma once
#include "values.h"

/* Kinds of arguments:
 *  k socket, y terminal, e epoll, r pipe, d file (descriptors of that kind)
 *  f descriptor      b buffer        s size           p path           n number        i small number
 *  t timespec        w quick timeout A sockaddr + L   M msghdr         V iovec + v     P process       S signal
 *  a page address    l page length   B flag bits      m mode           W words         U futex word
 *  N netlink + L     K BPF program   Z null mostly    u user id        o offset        g 8 (a sigset's size) mostly
 *  E epoll event     Q poll array    x exit-safe zero R ptrace request */
struct call {
    short number;
    short weight;
    const char *kinds;
};

#define CALL(name, weight, kinds) {SYS_##name, weight, kinds}

static const struct call calls[] = {
    /* Files. */
    CALL(read, 4, "fbs"), CALL(write, 4, "fbs"), CALL(open, 6, "pBm"), CALL(openat, 6, "fpBm"), CALL(openat2, 3, "fpWs"),
    CALL(creat, 2, "pm"), CALL(close, 2, "f"), CALL(close_range, 1, "ffB"), CALL(dup, 2, "f"), CALL(dup2, 2, "ff"),
    CALL(dup3, 1, "ffB"), CALL(pread64, 2, "dbso"), CALL(pwrite64, 2, "dbso"), CALL(readv, 3, "fVv"), CALL(writev, 3, "fVv"),
    CALL(preadv, 2, "dVvoo"), CALL(pwritev, 2, "dVvoo"), CALL(preadv2, 2, "dVvooB"), CALL(pwritev2, 2, "dVvooB"),
    CALL(lseek, 3, "foi"), CALL(stat, 2, "pb"), CALL(fstat, 2, "fb"), CALL(lstat, 2, "pb"), CALL(newfstatat, 2, "fpbB"),
    CALL(statx, 2, "fpBBb"), CALL(access, 1, "pi"), CALL(faccessat, 1, "fpi"), CALL(faccessat2, 1, "fpiB"), CALL(fcntl, 6, "fin"),
    CALL(fcntl, 3, "fiW"), CALL(flock, 2, "fi"), CALL(fsync, 1, "f"), CALL(fdatasync, 1, "f"), CALL(sync, 1, ""), CALL(syncfs, 1, "f"),
    CALL(truncate, 2, "po"), CALL(ftruncate, 3, "do"), CALL(fallocate, 3, "dioo"), CALL(getdents, 2, "fbs"), CALL(getdents64, 2, "fbs"),
    CALL(getcwd, 1, "bs"), CALL(chdir, 1, "p"), CALL(fchdir, 1, "f"), CALL(rename, 3, "pp"), CALL(renameat, 2, "fpfp"),
    CALL(renameat2, 3, "fpfpi"), CALL(mkdir, 3, "pm"), CALL(mkdirat, 2, "fpm"), CALL(rmdir, 2, "p"), CALL(link, 3, "pp"),
    CALL(linkat, 3, "fpfpB"), CALL(unlink, 3, "p"), CALL(unlinkat, 3, "fpB"), CALL(symlink, 3, "pp"), CALL(symlinkat, 2, "pfp"),
    CALL(readlink, 2, "pbs"), CALL(readlinkat, 2, "fpbs"), CALL(chmod, 2, "pm"), CALL(fchmod, 2, "fm"), CALL(fchmodat, 1, "fpm"),
    CALL(chown, 1, "puu"), CALL(fchown, 1, "fuu"), CALL(lchown, 1, "puu"), CALL(fchownat, 1, "fpuuB"), CALL(utimensat, 2, "fptB"),
    CALL(utime, 1, "pW"), CALL(utimes, 1, "pW"), CALL(futimesat, 1, "fpW"), CALL(mknod, 2, "pmn"), CALL(mknodat, 2, "fpmn"),
    CALL(statfs, 1, "pb"), CALL(fstatfs, 1, "fb"), CALL(ustat, 1, "nb"), CALL(sendfile, 2, "fdZs"), CALL(sendfile, 2, "ffWs"), CALL(splice, 4, "fWfWsB"),
    CALL(splice, 4, "rZfZsB"), CALL(splice, 3, "fZrZsB"), CALL(tee, 3, "rrsB"), CALL(vmsplice, 3, "rVvB"), CALL(copy_file_range, 3, "fWfWsZ"),
    CALL(copy_file_range, 3, "dZdZsZ"), CALL(fadvise64, 1, "fooi"), CALL(readahead, 1, "fos"), CALL(setxattr, 2, "ppbsi"),
    CALL(fsetxattr, 2, "dpbsi"), CALL(lsetxattr, 1, "ppbsi"), CALL(getxattr, 2, "ppbs"), CALL(fgetxattr, 2, "dpbs"),
    CALL(lgetxattr, 1, "ppbs"), CALL(listxattr, 1, "pbs"), CALL(flistxattr, 1, "dbs"), CALL(removexattr, 1, "pp"),
    CALL(fremovexattr, 1, "fp"), CALL(umask, 1, "m"), CALL(chroot, 1, "p"), CALL(pivot_root, 1, "pp"), CALL(mount, 1, "pppnp"),
    CALL(umount2, 2, "pi"), CALL(name_to_handle_at, 1, "fpWbB"), CALL(open_by_handle_at, 1, "fWB"), CALL(inotify_init1, 2, "B"),
    CALL(inotify_add_watch, 4, "fpB"), CALL(inotify_rm_watch, 2, "fi"), CALL(fanotify_init, 1, "nn"), CALL(ioctl, 3, "fnW"),
    CALL(memfd_create, 2, "pi"), CALL(quotactl, 1, "npnb"), CALL(sync_file_range, 1, "fooi"),
    {451, 1, "fWbi"}, /* cachestat */
    {452, 1, "fpmB"}, /* fchmodat2 */
    /* Memory. */
    CALL(mmap, 8, "alBBfo"), CALL(mmap, 4, "aliifo"), CALL(munmap, 2, "al"), CALL(mprotect, 4, "ali"), CALL(mremap, 5, "allia"),
    CALL(madvise, 5, "ali"), CALL(madvise, 2, "alB"), CALL(msync, 2, "ali"), CALL(mincore, 2, "alb"), CALL(mlock, 2, "al"),
    CALL(mlock2, 2, "ali"), CALL(munlock, 1, "al"), CALL(mlockall, 1, "i"), CALL(munlockall, 1, ""), CALL(brk, 3, "a"),
    CALL(remap_file_pages, 1, "aliii"), CALL(mbind, 1, "aliWni"), CALL(set_mempolicy, 1, "iWn"), CALL(get_mempolicy, 1, "WWnai"),
    CALL(move_pages, 1, "PnWWWi"), CALL(migrate_pages, 1, "PnWW"), CALL(pkey_mprotect, 1, "alii"), CALL(pkey_alloc, 1, "ii"),
    CALL(process_madvise, 1, "fVviZ"), CALL(process_vm_readv, 2, "PVvVvZ"), CALL(process_vm_writev, 2, "PVvVvZ"), CALL(membarrier, 1, "iii"),
    CALL(userfaultfd, 1, "n"), CALL(process_mrelease, 1, "fZ"), CALL(memfd_secret, 1, "n"),
    /* Processes. */
    CALL(getpid, 1, ""), CALL(getpgid, 1, "P"), CALL(setpgid, 2, "PP"), CALL(getsid, 1, "P"), CALL(setsid, 1, ""), CALL(wait4, 4, "PWib"),
    CALL(waitid, 4, "iPWib"), CALL(waitid, 1, "nPbnb"), CALL(prctl, 5, "innnn"), CALL(prctl, 3, "iWWnn"), CALL(arch_prctl, 1, "nW"),
    CALL(getrlimit, 1, "ib"), CALL(setrlimit, 1, "iW"), CALL(prlimit64, 2, "PiWb"), CALL(getrusage, 1, "nb"), CALL(times, 1, "b"),
    CALL(sched_setaffinity, 1, "PsW"), CALL(sched_getaffinity, 1, "Psb"), CALL(sched_setscheduler, 1, "PiW"),
    CALL(sched_setparam, 1, "PW"), CALL(sched_getparam, 1, "Pb"), CALL(sched_setattr, 1, "PWn"), CALL(sched_getattr, 1, "Pbsn"),
    CALL(sched_yield, 1, ""), CALL(sched_rr_get_interval, 1, "Pb"), CALL(setpriority, 1, "iPn"), CALL(getpriority, 1, "iP"),
    CALL(ioprio_set, 1, "iPn"), CALL(ioprio_get, 1, "iP"), CALL(personality, 1, "n"), CALL(unshare, 1, "B"), CALL(setns, 1, "fB"),
    CALL(ptrace, 3, "RPaS"), CALL(ptrace, 2, "RPBW"), CALL(ptrace, 2, "RPiB"), CALL(kcmp, 1, "PPinn"), CALL(getcpu, 1, "bbZ"), CALL(setuid, 1, "u"), CALL(setgid, 1, "u"),
    CALL(setresuid, 1, "uuu"), CALL(setresgid, 1, "uuu"), CALL(setreuid, 1, "uu"), CALL(setgroups, 1, "sW"), CALL(getgroups, 1, "sb"),
    CALL(setfsuid, 1, "u"), CALL(capget, 1, "WW"), CALL(capset, 1, "WW"), CALL(getresuid, 1, "bbb"), CALL(seccomp, 1, "iiK"),
    CALL(set_tid_address, 1, "W"), CALL(rseq, 1, "Wnin"), CALL(pidfd_open, 3, "PB"), CALL(pidfd_getfd, 2, "ffZ"),
    CALL(landlock_create_ruleset, 1, "Wsi"), CALL(execve, 1, "pWW"), CALL(execveat, 1, "fpWWB"),
    /* Signals. */
    CALL(kill, 2, "PS"), CALL(tkill, 2, "PS"), CALL(tgkill, 3, "PPS"), CALL(rt_sigqueueinfo, 3, "PSW"), CALL(rt_tgsigqueueinfo, 3, "PPSW"),
    CALL(pidfd_send_signal, 3, "fSZZ"), CALL(pidfd_send_signal, 1, "fSWB"), CALL(rt_sigprocmask, 2, "iWbg"), CALL(rt_sigpending, 1, "bg"),
    CALL(rt_sigaction, 2, "SWbg"), CALL(rt_sigtimedwait, 3, "WbtG"), CALL(rt_sigsuspend, 1, "Wg"), CALL(sigaltstack, 2, "Wb"),
    CALL(signalfd, 2, "fWg"), CALL(signalfd4, 3, "fWgB"), CALL(restart_syscall, 1, ""),
    /* Time. */
    CALL(nanosleep, 2, "wb"), CALL(clock_nanosleep, 3, "iiwb"), CALL(clock_gettime, 1, "nb"), CALL(clock_getres, 1, "nb"),
    CALL(clock_settime, 1, "it"), CALL(clock_adjtime, 1, "iW"), CALL(adjtimex, 1, "W"), CALL(settimeofday, 1, "WW"),
    CALL(gettimeofday, 1, "bb"), CALL(time, 1, "b"), CALL(alarm, 1, "n"), CALL(setitimer, 3, "itb"), CALL(getitimer, 1, "ib"),
    CALL(timer_create, 4, "iWb"), CALL(timer_create, 2, "iZb"), CALL(timer_settime, 4, "iitb"), CALL(timer_gettime, 1, "ib"),
    CALL(timer_getoverrun, 1, "i"), CALL(timer_delete, 2, "i"), CALL(timerfd_create, 3, "iB"), CALL(timerfd_settime, 4, "fitb"),
    CALL(timerfd_gettime, 2, "fb"),
    /* Futexes. */
    CALL(futex, 20, "UiitUi"), CALL(futex, 8, "UninUn"), CALL(futex, 4, "UiitZi"), CALL(futex_waitv, 3, "WiitiZ"), CALL(set_robust_list, 2, "Ws"),
    CALL(get_robust_list, 1, "PWW"),
    /* Sockets. */
    CALL(socket, 8, "iii"), CALL(socketpair, 5, "iiib"), CALL(bind, 6, "kAL"), CALL(listen, 4, "ki"), CALL(accept, 2, "kbW"),
    CALL(accept4, 4, "kbWB"), CALL(connect, 6, "kAL"), CALL(sendto, 4, "kbsBAL"), CALL(sendto, 3, "kbsBZZ"), CALL(sendto, 3, "kNLBZZ"),
    CALL(recvfrom, 5, "kbsBbW"), CALL(sendmsg, 6, "kMB"), CALL(recvmsg, 6, "kMB"), CALL(sendmmsg, 2, "kMiB"), CALL(recvmmsg, 2, "kMiBt"),
    CALL(getsockopt, 4, "kiibW"), CALL(setsockopt, 6, "kiibs"), CALL(setsockopt, 1, "kiiKs"), CALL(getsockname, 1, "kbW"),
    CALL(getpeername, 1, "kbW"), CALL(shutdown, 2, "ki"),
    /* Waiting. */
    CALL(poll, 3, "Qii"), CALL(ppoll, 3, "QitWg"), CALL(select, 2, "iWWWt"), CALL(pselect6, 3, "iWWWtW"), CALL(epoll_create1, 4, "B"),
    CALL(epoll_create, 1, "n"), CALL(epoll_ctl, 14, "eifE"), CALL(epoll_wait, 4, "ebii"), CALL(epoll_pwait, 2, "ebiiWg"),
    CALL(epoll_pwait2, 2, "ebitWg"), CALL(eventfd, 2, "n"), CALL(eventfd2, 3, "nB"), CALL(pipe, 2, "b"), CALL(pipe2, 4, "bB"),
    /* System V and POSIX IPC. */
    CALL(shmget, 3, "isB"), CALL(shmat, 4, "ian"), CALL(shmdt, 3, "a"), CALL(shmctl, 3, "iiW"), CALL(semget, 3, "iiB"), CALL(semop, 4, "iWi"),
    CALL(semtimedop, 3, "iWit"), CALL(semctl, 5, "iiiW"), CALL(semctl, 2, "iiin"), CALL(msgget, 3, "iB"), CALL(msgsnd, 4, "iWsB"),
    CALL(msgrcv, 4, "ibsiB"), CALL(msgctl, 3, "iiW"), CALL(mq_open, 4, "pBmW"), CALL(mq_open, 3, "pBmZ"), CALL(mq_unlink, 1, "p"), CALL(mq_timedsend, 3, "fbsit"),
    CALL(mq_timedreceive, 3, "fbsWt"), CALL(mq_notify, 2, "fW"), CALL(mq_getsetattr, 2, "fWb"),
    /* The rest. */
    CALL(uname, 1, "b"), CALL(sethostname, 1, "bs"), CALL(setdomainname, 1, "bs"), CALL(sysinfo, 1, "b"), CALL(syslog, 1, "ibs"),
    CALL(getrandom, 2, "bsi"), CALL(sysfs, 1, "ipb"), CALL(acct, 1, "p"), CALL(swapon, 1, "pn"), CALL(iopl, 1, "i"), CALL(ioperm, 1, "nnn"),
    CALL(modify_ldt, 1, "iWs"), CALL(io_setup, 1, "iW"), CALL(io_uring_setup, 1, "iW"), CALL(bpf, 1, "iWs"), CALL(perf_event_open, 1, "WPifB"),
    CALL(keyctl, 1, "innnn"), CALL(add_key, 1, "ppbsi"), CALL(vhangup, 1, ""), CALL(_sysctl, 1, "W"), CALL(lookup_dcookie, 1, "nbs"),
    CALL(mount_setattr, 1, "fpBWs"), CALL(fsopen, 1, "pB"), CALL(open_tree, 1, "fpB"), CALL(move_mount, 1, "fpfpB"), CALL(remap_file_pages, 1, "alnnn"),
};

#define CALLS (sizeof calls / sizeof *calls)

static inline u64 argument(struct rng *r, char kind, u64 *length, u64 *count)
{
    /* Process 1 watches: nobody aims at it. */
    if (kind == 'P')
        return process(r);
    if (chance(r, 3))
        return chance(r, 50) ? number(r) : address(r);
    switch (kind) {
    case 'f':
        return descriptor(r);
    case 'k':
        return descriptor_of(r, SOCKETS);
    case 'y':
        return descriptor_of(r, TERMINALS);
    case 'e':
        return descriptor_of(r, EPOLLS);
    case 'r':
        return descriptor_of(r, PIPES);
    case 'd':
        return descriptor_of(r, FILES);
    case 'b':
        return address(r);
    case 's':
        return size(r);
    case 'p':
        return file_name(r);
    case 'n':
        return number(r);
    case 'i':
        return chance(r, 95) ? below(r, chance(r, 60) ? 4 : 48) : number(r);
    case 't':
    case 'w':
        return chance(r, 90) ? timespec(r, kind == 'w') : 0;
    case 'A':
        return socket_address(r, length);
    case 'N':
        return netlink(r, length);
    case 'L':
        return *length;
    case 'M':
        return message(r);
    case 'V':
        return vectors(r, count);
    case 'v':
        return *count;
    case 'S':
        return signal_number(r);
    case 'a':
        return chance(r, 80) ? ARENA + below(r, PAGES) * PAGE : address(r);
    case 'l':
        return chance(r, 90) ? (1 + below(r, 6)) * PAGE : size(r);
    case 'B':
        return chance(r, 50) ? 1UL << below(r, 24) : chance(r, 60) ? (1UL << below(r, 20) | 1UL << below(r, 20) | below(r, 4)) : number(r);
    case 'm':
        return chance(r, 80) ? below(r, 010000) | below(r, 16) << 12 : number(r);
    case 'W':
        return chance(r, 90) ? words(r, 8) : address(r);
    case 'U':
        return chance(r, 90) ? ARENA + (chance(r, 70) ? 0 : 58 * PAGE) + below(r, 6) * 4 : address(r);
    case 'K':
        return program(r);
    case 'R': {
        static const unsigned short requests[] = {0, 0, 1, 3, 4, 5, 6, 7, 7, 9, 12, 13, 14, 15, 16, 16, 17, 24, 24, 31, 32,
                                                  0x4200, 0x4201, 0x4202, 0x4203, 0x4204, 0x4205, 0x4206, 0x4206, 0x4207, 0x4207,
                                                  0x4208, 0x4209, 0x420a, 0x420b, 0x420c, 0x420e, 0x420f};
        return chance(r, 90) ? requests[below(r, sizeof requests / sizeof *requests)] : below(r, 48);
    }
    case 'Z':
        return chance(r, 90) ? 0 : address(r);
    case 'u':
        return chance(r, 60) ? (u64)-1 : below(r, 3) * 1000;
    case 'o':
        return chance(r, 80) ? below(r, 1 << 16) : number(r);
    case 'g':
    case 'G':
        return chance(r, 95) ? 8 : number(r);
    case 'E': {
        u64 event[2] = {chance(r, 80) ? 1UL << below(r, 14) | (chance(r, 30) ? 1UL << (28 + below(r, 4)) : 0) : next(r), next(r)};
        u64 at = place(r);
        put(at, event, 12);
        return at;
    }
    case 'Q': {
        u64 at = place(r);
        for (int i = 0; i < 8; i++) {
            struct pollfd p = {descriptor(r), next(r), 0};
            put(at + 8 * i, &p, 8);
        }
        return at;
    }
    default:
        return 0;
    }
}
