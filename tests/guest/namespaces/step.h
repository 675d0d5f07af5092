/* A part of a test that is a process of its own: what it does to its namespaces ends with it. */
#pragma once
#include "check.h"

static inline void step(const char *name, void (*run)(void))
{
    say("-- %s", name);
    pid_t pid = fork();
    if (pid == 0) {
        run();
        fflush(stdout);
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    show_status(name, status);
}
