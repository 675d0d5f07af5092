/* Looks for a file's contents where stubs may be shown files, beyond the memory of guests: what a descriptor lets be read is found there, other things are not. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* As docs/platform.md has it. */
#define GUEST_END 0x7ffe00000000UL
#define SLOT (128UL << 20)
#define WINDOWS (16UL << 20)
#define WINDOW (1UL << 20)
enum { SLOTS = 64, COUNT = 64, OFTEN = 1500, SIZE = 8192, SECRET = 4096 };

static sigjmp_buf fault;
static void on_fault(int signal)
{
    siglongjmp(fault, signal);
}

static uint64_t read_at(const volatile uint64_t *at)
{
    return sigsetjmp(fault, 1) == 0 ? *at : 0;
}

static int write_at(volatile uint64_t *at, uint64_t value)
{
    if (sigsetjmp(fault, 1))
        return 0;
    *at = value;
    return 1;
}

/* Whether anything there is the secret; tries to change it there, too. */
static void search(const char *what, uint64_t secret)
{
    int readable = 0, written = 0;
    for (uint64_t i = 0; i < SLOTS * COUNT; i++) {
        uint64_t *at = (void *)(GUEST_END + i / COUNT * SLOT + WINDOWS + i % COUNT * WINDOW + SECRET);
        if (read_at(at) == secret) {
            readable++;
            written += write_at(at, secret);
        }
    }
    printf("%s: read %d written %d\n", what, readable, written);
    fflush(stdout);
}

static void look(const char *what, int flags, uint64_t secret)
{
    pid_t child = fork();
    if (child == 0) {
        char page[16] = {0};
        int fd = open("file", flags);
        for (int i = 0; i < OFTEN; i++)
            if (flags != O_RDONLY ? pwrite(fd, page, 16, i % 1000) != 16 : pread(fd, page, 16, i % 1000) != 16)
                _exit(1);
        search(what, secret);
        if (flags == O_RDWR) {
            close(fd);
            search("closed", secret);
        }
        _exit(0);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) < 0 || status)
        printf("%s went wrong\n", what);
}

int main(void)
{
    char dir[] = "/dev/shm/windows.XXXXXX";
    uint64_t secret;
    if (!mkdtemp(dir) || chdir(dir))
        return 1;
    int random = open("/dev/urandom", O_RDONLY), fd = open("file", O_RDWR | O_CREAT, 0644);
    if (read(random, &secret, 8) != 8 || ftruncate(fd, SIZE) || pwrite(fd, "", 1, 0) != 1 || pwrite(fd, &secret, 8, SECRET) != 8)
        return 1;
    struct sigaction act = {.sa_handler = on_fault};
    sigaction(SIGSEGV, &act, NULL);
    sigaction(SIGBUS, &act, NULL);
    /* Until calls are answered. */
    for (int i = 0; i < 20000; i++)
        getpgrp();
    look("reading and writing", O_RDWR, secret);
    look("reading", O_RDONLY, secret);
    look("writing", O_WRONLY, secret);
    search("nobody", secret);
    return 0;
}
