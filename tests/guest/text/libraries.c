//@ static=no
/* Copies of the C library come and go while others are used. */
#include "../check.h"
#include <dlfcn.h>

int main(void) {
    pid_t parent = getppid();
    int wrong = 0;
    for (int i = 0; i < 25; i++) {
        void *library = dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW | RTLD_LOCAL);
        if (library == NULL) {
            printf("%s\n", dlerror());
            return 1;
        }
        pid_t (*call)(void) = (pid_t (*)(void))dlsym(library, "getppid");
        long (*any)(long, ...) = (long (*)(long, ...))dlsym(library, "syscall");
        for (int n = 0; n < 60; n++) {
            wrong += call() != parent;
            wrong += any(SYS_getppid) != parent;
            wrong += getppid() != parent;
        }
        dlclose(library);
        /* Something else may lie where it was. */
        void *p = mmap(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memset(p, 0x5a, 1 << 20);
        wrong += getppid() != parent;
        munmap(p, 8 << 20);
    }
    printf("wrong: %d\n", wrong);
    return 0;
}
