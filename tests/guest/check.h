/* What guest tests share: printing what a call returned. Output must be the same on every run. */
#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Prints the expression and its value; the error's name if it is -1. */
#define SHOW(expr)                                                                     \
    do {                                                                               \
        errno = 0;                                                                     \
        long value_ = (long)(expr);                                                    \
        int errno_ = errno;                                                            \
        if (value_ == -1)                                                              \
            printf("%s = -1 %s\n", #expr, errno_ ? strerrorname_np(errno_) : "?");     \
        else                                                                           \
            printf("%s = %ld\n", #expr, value_);                                       \
        fflush(stdout);                                                                \
    } while (0)

/* Prints only whether the call succeeded: for values that differ from run to run. */
#define WORKS(expr)                                                                    \
    do {                                                                               \
        errno = 0;                                                                     \
        long value_ = (long)(expr);                                                    \
        int errno_ = errno;                                                            \
        printf("%s: %s\n", #expr, value_ == -1 ? strerrorname_np(errno_) : "works");   \
        fflush(stdout);                                                                \
    } while (0)

/* Set-up that must succeed. */
#define MUST(expr)                                                                     \
    ({                                                                                 \
        __typeof__(expr) value_ = (expr);                                              \
        if ((long)value_ == -1) {                                                      \
            printf("%s:%d: %s: %s\n", __FILE__, __LINE__, #expr, strerror(errno));     \
            fflush(stdout);                                                            \
            _exit(99);                                                                 \
        }                                                                              \
        value_;                                                                        \
    })

/* A line of output that is on its way even if the process dies next. */
__attribute__((format(printf, 1, 2))) static inline void say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

/* A file with this content. */
static inline void put_file(const char *name, const char *content)
{
    int fd = MUST(open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644));
    MUST(write(fd, content, strlen(content)));
    close(fd);
}

/* A file's content, or its errno. */
static inline void show_file(const char *name)
{
    char buffer[4096];
    int fd = open(name, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, buffer, sizeof buffer - 1);
    if (n < 0) {
        say("%s: %s", name, strerrorname_np(errno));
    } else {
        buffer[n] = 0;
        say("%s: \"%s\"", name, buffer);
    }
    if (fd >= 0)
        close(fd);
}

/* How a child ended or changed. */
static inline void show_status(const char *who, int status)
{
    if (WIFEXITED(status))
        say("%s: exited %d", who, WEXITSTATUS(status));
    else if (WIFSIGNALED(status))
        say("%s: killed by %s", who, sigabbrev_np(WTERMSIG(status)));
    else if (WIFSTOPPED(status))
        say("%s: stopped by %s", who, sigabbrev_np(WSTOPSIG(status)));
    else if (WIFCONTINUED(status))
        say("%s: continued", who);
    else
        say("%s: status %#x", who, status);
}

static inline void pause_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&t, &t) < 0 && errno == EINTR)
        ;
}

static inline long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
