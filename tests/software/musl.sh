# musl's libc, as in Alpine images: no unwind tables, and its cancellable calls go through hidden code. Static, stripped and dynamic
# programs with threads, cancellation and signals.
#@ needs=musl-gcc
#@ timeout=120
set -eu
cat > program.c <<'EOF'
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static int ends[2];
static volatile sig_atomic_t alarms;
static void on_alarm(int n) { alarms += n == SIGALRM; }
static void cleaned(void *text) { printf("%s\n", (char *)text); fflush(stdout); }
static void *reads_for_ever(void *unused)
{
    char byte;
    pthread_cleanup_push(cleaned, "cancelled in read");
    while (read(ends[0], &byte, 1) == 1 && byte != 'z')
        ;
    pthread_cleanup_pop(0);
    return unused;
}
static void *writes(void *n)
{
    for (int i = 0; i < 3000; i++)
        if (write(ends[1], "abcd", 4) != 4)
            return NULL;
    return n;
}
int main(void)
{
    struct sigaction act = {.sa_handler = on_alarm};
    char buffer[64];
    long sum = 0;
    sigaction(SIGALRM, &act, NULL);
    for (int round = 0; round < 20; round++) {
        pthread_t reader, writer[2];
        void *result;
        if (pipe(ends))
            return 1;
        pthread_create(&reader, NULL, reads_for_ever, NULL);
        for (long i = 0; i < 2; i++)
            pthread_create(&writer[i], NULL, writes, (void *)(i + 1));
        for (int i = 0; i < 2; i++)
            pthread_join(writer[i], &result), sum += (long)result;
        pthread_cancel(reader);
        pthread_join(reader, &result);
        printf("%d: %ld %d\n", round, sum, result == PTHREAD_CANCELED);
        close(ends[0]), close(ends[1]);
    }
    /* A read that a signal ends. */
    if (pipe(ends))
        return 1;
    ualarm(20000, 0);
    ssize_t n = read(ends[0], buffer, sizeof buffer);
    printf("read: %zd %d, %d alarms\n", n, errno == EINTR, (int)alarms);
    for (int i = 0; i < 50; i++) {
        pid_t child = fork();
        if (!child)
            execlp("./exits", "exits", NULL), _exit(127);
        int status;
        waitpid(child, &status, 0);
        sum += WEXITSTATUS(status);
    }
    FILE *f = fopen("file", "w+");
    for (int i = 0; i < 2000; i++)
        fprintf(f, "line %d\n", i), fflush(f);
    rewind(f);
    int lines = 0;
    while (fgets(buffer, sizeof buffer, f))
        lines++;
    printf("%ld %d\n", sum, lines);
    return 0;
}
EOF
echo 'int main(void) { return 3; }' > exits.c
for how in "-static" "-static -s" "" "-fPIE -pie"; do
    musl-gcc -O2 -w $how -o exits exits.c
    musl-gcc -O2 -w $how -o program program.c
    echo "== $how"
    ./program
done
