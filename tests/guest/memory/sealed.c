/* Mappings of sealed memfds: what was mapped for reading does not become writable. */
#include "check.h"

static void try(const char *what, int seals, int first)
{
    int fd = MUST(memfd_create("of-ours", MFD_ALLOW_SEALING));
    MUST(ftruncate(fd, 8192));
    char *before = first ? MUST(mmap(NULL, 4096, first, MAP_SHARED, fd, 0)) : NULL;
    say("%s", what);
    SHOW(fcntl(fd, F_ADD_SEALS, seals));
    if (before != NULL) {
        SHOW(mprotect(before, 4096, PROT_READ));
        SHOW(mprotect(before, 4096, PROT_READ | PROT_WRITE));
        SHOW(munmap(before, 4096));
        SHOW(fcntl(fd, F_ADD_SEALS, seals));
    }
    SHOW(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    SHOW(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fd, 0));
    char *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    say("mapped %d", p != MAP_FAILED);
    if (p != MAP_FAILED) {
        SHOW(mprotect(p, 4096, PROT_READ | PROT_WRITE));
        SHOW(mprotect(p, 4096, PROT_NONE));
        SHOW(mprotect(p, 4096, PROT_WRITE));
        SHOW(mprotect(p, 4096, PROT_READ));
        say("%d", *p);
    }
    p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    say("private %d", p != MAP_FAILED);
    SHOW(mprotect(p, 4096, PROT_READ | PROT_WRITE));
    *p = 1;
    close(fd);
}

int main(void)
{
    try("write", F_SEAL_WRITE, 0);
    try("future", F_SEAL_FUTURE_WRITE, 0);
    try("write, mapped before", F_SEAL_WRITE, PROT_READ);
    try("future, mapped before", F_SEAL_FUTURE_WRITE, PROT_READ);
    try("write, writable before", F_SEAL_WRITE, PROT_READ | PROT_WRITE);
    try("future, writable before", F_SEAL_FUTURE_WRITE, PROT_READ | PROT_WRITE);
    return 0;
}
