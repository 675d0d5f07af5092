/* What tests of calls that are made often share. */
#pragma once
#include "check.h"
#include <pthread.h>

static inline double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

/* Calls long enough that whoever makes them faster has begun to. */
static inline void warm(void (*calls)(void))
{
    double until = now() + 0.4;
    while (now() < until)
        calls();
}

static inline void any_call(void)
{
    getpgrp();
}

static inline void *run_call(void *call)
{
    ((void (*)(void))call)();
    return NULL;
}

/* Has something done by this thread, by another one, by another process. */
static inline void by_whom(int who, void (*what)(void))
{
    if (who == 0) {
        what();
    } else if (who == 1) {
        pthread_t t;
        pthread_create(&t, NULL, run_call, what);
        pthread_join(t, NULL);
    } else {
        pid_t child = MUST(fork());
        if (child == 0) {
            what();
            _exit(0);
        }
        int status;
        MUST(waitpid(child, &status, 0));
    }
}
