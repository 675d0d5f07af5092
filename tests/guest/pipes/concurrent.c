/* Blocking reads and writes between processes: wake-ups, order, end of file. */
#include "check.h"

int main(void)
{
    int p[2], q[2];
    MUST(pipe(p));
    MUST(pipe(q));
    pid_t child = MUST(fork());
    if (child == 0) {
        close(p[1]);
        close(q[0]);
        char c;
        while (read(p[0], &c, 1) == 1) {
            c++;
            MUST(write(q[1], &c, 1));
        }
        _exit(7);
    }
    close(p[0]);
    close(q[1]);
    int sum = 0;
    for (int i = 0; i < 300; i++) {
        char c = (char)i, d = 0;
        MUST(write(p[1], &c, 1));
        MUST(read(q[0], &d, 1));
        sum += d == (char)(c + 1);
    }
    say("round trips %d", sum);
    close(p[1]);
    char c;
    SHOW(read(q[0], &c, 1));
    int status;
    MUST(waitpid(child, &status, 0));
    show_status("echo", status);

    /* A megabyte through a pipe: the writer must wait for the reader again and again. */
    MUST(pipe(p));
    child = MUST(fork());
    if (child == 0) {
        close(p[0]);
        char *big = malloc(1 << 20);
        for (int i = 0; i < 1 << 20; i++)
            big[i] = (char)(i * 7);
        ssize_t n = write(p[1], big, 1 << 20);
        _exit(n == 1 << 20 ? 0 : 1);
    }
    close(p[1]);
    long total = 0, wrong = 0;
    char buffer[3000];
    ssize_t n;
    while ((n = read(p[0], buffer, sizeof buffer)) > 0)
        for (ssize_t i = 0; i < n; i++, total++)
            wrong += buffer[i] != (char)(total * 7);
    say("total %ld wrong %ld", total, wrong);
    MUST(waitpid(child, &status, 0));
    show_status("writer", status);

    /* Writes of at most PIPE_BUF bytes do not mix. */
    MUST(pipe(p));
    for (int w = 0; w < 4; w++)
        if (fork() == 0) {
            char record[512];
            memset(record, 'a' + w, sizeof record);
            for (int i = 0; i < 100; i++)
                MUST(write(p[1], record, sizeof record));
            _exit(0);
        }
    close(p[1]);
    int mixed = 0, records = 0;
    char record[512];
    for (;;) {
        size_t have = 0;
        while (have < sizeof record && (n = read(p[0], record + have, sizeof record - have)) > 0)
            have += n;
        if (have < sizeof record)
            break;
        records++;
        for (size_t i = 1; i < sizeof record; i++)
            mixed += record[i] != record[0];
    }
    say("records %d mixed %d", records, mixed);
    while (wait(NULL) > 0)
        ;
    return 0;
}
