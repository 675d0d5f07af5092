/* A program without an interpreter maps programs itself, as valgrind does, and reads what it mapped: the file's own text. */
#include "../check.h"
#include <elf.h>

int main(void)
{
    int fd = MUST(open("/proc/self/exe", O_RDONLY));
    Elf64_Ehdr header;
    MUST(pread(fd, &header, sizeof header, 0));
    Elf64_Phdr text = {0};
    for (int i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr h;
        MUST(pread(fd, &h, sizeof h, header.e_phoff + i * sizeof h));
        if (h.p_type == PT_LOAD && h.p_flags & PF_X)
            text = h;
    }
    off_t at = text.p_offset & -4096L;
    size_t len = (text.p_offset + text.p_filesz - at) & -4096L;
    char *file = MUST(mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    SHOW(pread(fd, file, len, at) == (long)len);
    int wrong = 0, own = 0;
    for (int i = 0; i < 100; i++) {
        for (int j = 0; j < 10; j++)
            wrong += getppid() != syscall(SYS_getppid);
        usleep(2000);
        char *mapped = MUST(mmap(NULL, len, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, at));
        wrong += memcmp(mapped, file, len) != 0;
        /* It can be run, too. */
        int (*of)(void) = (void *)(mapped + ((char *)getppid - (char *)text.p_vaddr) + (text.p_offset - at));
        if (header.e_type == ET_EXEC)
            own += of() == getppid();
        else
            own++;
        MUST(munmap(mapped, len));
    }
    printf("wrong: %d, own: %d\n", wrong, own);
    return 0;
}
