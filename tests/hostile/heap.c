/* Fills the sockets of a child with small datagrams, twice; when the child has ended nothing of it is left. Says when they are full, and a while after the
 * end. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SOCKETS = 700, EACH = 400 };

static void fill(void)
{
    struct rlimit all;
    getrlimit(RLIMIT_NOFILE, &all);
    all.rlim_cur = all.rlim_max;
    setrlimit(RLIMIT_NOFILE, &all);
    int from = socket(AF_INET, SOCK_DGRAM, 0), room = 1 << 20;
    static char data[200];
    for (int i = 0; i < SOCKETS; i++) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(10000 + i), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int s = socket(AF_INET, SOCK_DGRAM, 0);
        if (s < 0 || setsockopt(s, SOL_SOCKET, SO_RCVBUF, &room, sizeof room) || bind(s, (void *)&a, sizeof a))
            _exit(1);
        for (int n = 0; n < EACH; n++)
            sendto(from, data, sizeof data, 0, (void *)&a, sizeof a);
        if (i % 50 == 0)
            dprintf(1, "tick\n");
    }
    dprintf(1, "full\n");
    _exit(0);
}

int main(void)
{
    for (int round = 0; round < 2; round++) {
        pid_t pid = fork();
        if (pid == 0)
            fill();
        int status;
        waitpid(pid, &status, 0);
        if (status)
            dprintf(1, "failed\n");
        sleep(2);
        dprintf(1, "ended\n");
    }
    sleep(1);
    return 0;
}
