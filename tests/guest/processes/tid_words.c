// The words that clone(2) writes its child's id to, and that the child's end clears: for a child with memory of its own, and what becomes of them in memory that is shared all the same.
#define _GNU_SOURCE
#include "../check.h"
#include <linux/sched.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int *shared;
static int own;

static pid_t copy(unsigned long flags, volatile int *set) {
  return syscall(SYS_clone, flags | SIGCHLD, 0, 0, set, 0);
}

int main(void) {
  shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  int status;
  for (int round = 0; round < 3; round++) {
    // In memory that is copied: the child finds its id, the parent what was there.
    own = -1;
    pid_t child = copy(CLONE_CHILD_SETTID, &own);
    if (child == 0) _exit(own == getpid() && own == syscall(SYS_gettid) ? 7 : 8);
    waitpid(child, &status, 0);
    printf("own: child says %d, here %d\n", WEXITSTATUS(status), own);
    // In memory that both have: it stays, since nobody else is in the child's memory when that ends (`mm_release`).
    *shared = -1;
    child = copy(CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID, shared);
    if (child == 0) _exit(*shared == getpid() ? 7 : 8);
    waitpid(child, &status, 0);
    printf("shared: child says %d, here %s\n", WEXITSTATUS(status), *shared == child ? "its id" : *shared ? "something" : "0");
    // The same if it begins another program.
    *shared = -1;
    child = copy(CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID, shared);
    if (child == 0) {
      execl("/bin/true", "true", (char *)0);
      _exit(9);
    }
    waitpid(child, &status, 0);
    printf("exec: %d, here %s\n", WEXITSTATUS(status), *shared == child ? "its id" : *shared ? "something" : "0");
    // Where it cannot be written: that is no error.
    child = copy(CLONE_CHILD_SETTID, (int *)16);
    if (child == 0) _exit(3);
    waitpid(child, &status, 0);
    printf("nowhere: %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    char *page = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(page + 4096, 4096, PROT_READ);
    child = copy(CLONE_CHILD_SETTID, (int *)(page + 4094));
    if (child == 0) _exit(4);
    waitpid(child, &status, 0);
    printf("half: %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    child = copy(CLONE_CHILD_SETTID, (int *)(page + 4096));
    if (child == 0) _exit(5);
    waitpid(child, &status, 0);
    printf("read-only: %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    madvise(page, 4096, MADV_DONTFORK);
    child = copy(CLONE_CHILD_SETTID, (int *)page);
    if (child == 0) _exit(6);
    waitpid(child, &status, 0);
    printf("not inherited: %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    munmap(page, 8192);
    // Nor where a write faults all the same: a guard page (Linux 6.13), a file that ends before.
    page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise(page, 4096, 102);
    child = copy(CLONE_CHILD_SETTID, (int *)page);
    if (child == 0) _exit(7);
    waitpid(child, &status, 0);
    printf("guarded: %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    munmap(page, 4096);
    page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, memfd_create("empty", 0), 0);
    child = copy(CLONE_CHILD_SETTID, (int *)page);
    if (child == 0) _exit(8);
    waitpid(child, &status, 0);
    printf("behind a file's end: %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    munmap(page, 4096);
  }
  return 0;
}
