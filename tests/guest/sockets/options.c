/* Options of every family: what they are at first, what they take, and what comes of it. */
#include "check.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

static const int socket_names[] = {1,  2,  3,  4,  5,  6,  9,  10, 11, 12, 13, 14, 17, 19,
                                   20, 21, 25, 26, 27, 28, 29, 30, 35, 36, 38, 39, 40, 41, 42, 43,
                                   44, 45, 46, 48, 49, 56, 60, 61, 63, 64, 66, 67, 69, 72, 75};
static const int ip_names[] = {0,  1,  2,  3,  5,  6,  7,  8,  10, 11, 12, 13, 14, 15, 16, 18, 20,
                               21, 22, 23, 24, 26, 27, 32, 33, 34, 35, 36, 37, 42, 50};
static const int ipv6_names[] = {2,  3,  4,  5,  7,  8,  11, 16, 18, 19, 23, 25, 26, 29, 30, 31, 33, 34,
                                 49, 51, 53, 54, 55, 56, 57, 58, 59, 60, 66, 67, 73, 74, 75, 76};
static const int tcp_names[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 17, 18, 23, 27, 30, 31, 34, 36, 37};
static const int values[] = {0, 1, 2, -1, 7, 256, 100000};

static void all(const char *who, int s, const char *level_name, int level, const int *names, int count)
{
    for (int i = 0; i < count; i++) {
        unsigned char raw[128];
        socklen_t n = sizeof raw;
        int r = getsockopt(s, level, names[i], raw, &n);
        printf("%s %s %d:", who, level_name, names[i]);
        if (r < 0)
            printf(" %s", strerrorname_np(errno));
        else
            for (socklen_t b = 0; b < n; b++)
                printf(" %02x", raw[b]);
        for (unsigned v = 0; v < sizeof values / sizeof *values; v++) {
            int now = -99;
            n = sizeof now;
            r = setsockopt(s, level, names[i], &values[v], sizeof(int));
            printf("; %d %s", values[v], r < 0 ? strerrorname_np(errno) : "ok");
            if (getsockopt(s, level, names[i], &now, &n) == 0)
                printf(" %d", now);
        }
        char byte = 1;
        r = setsockopt(s, level, names[i], &byte, 1);
        say("; byte %s", r < 0 ? strerrorname_np(errno) : "ok");
    }
}

#define ALL(s, level, names) all(who, s, #level, level, names, sizeof names / sizeof *names)

int main(void)
{
    const struct {
        const char *name;
        int domain, type;
    } kinds[] = {
        {"tcp4", AF_INET, SOCK_STREAM},  {"udp4", AF_INET, SOCK_DGRAM}, {"tcp6", AF_INET6, SOCK_STREAM},
        {"udp6", AF_INET6, SOCK_DGRAM},  {"unix", AF_UNIX, SOCK_STREAM}, {"unix-dgram", AF_UNIX, SOCK_DGRAM},
    };
    for (unsigned k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        const char *who = kinds[k].name;
        int s = MUST(socket(kinds[k].domain, kinds[k].type, 0));
        ALL(s, SOL_SOCKET, socket_names);
        ALL(s, IPPROTO_IP, ip_names);
        ALL(s, IPPROTO_IPV6, ipv6_names);
        ALL(s, IPPROTO_TCP, tcp_names);
        close(s);
    }
    int s = MUST(socket(AF_INET, SOCK_STREAM, 0)), n = 3;
    socklen_t size = 2;
    struct linger linger = {1, 5};
    struct timeval half = {0, 500000}, wrong = {0, 1000000}, past = {-1, 0};
    char name[16] = "reno";
    SHOW(setsockopt(s, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    SHOW(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &half, sizeof half));
    SHOW(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &wrong, sizeof wrong));
    SHOW(setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &past, sizeof past));
    SHOW(setsockopt(s, IPPROTO_TCP, TCP_CONGESTION, name, 4));
    SHOW(setsockopt(s, IPPROTO_TCP, TCP_CONGESTION, "nonesuch", 8));
    SHOW(setsockopt(s, SOL_SOCKET, SO_KEEPALIVE, (void *)8, 4));
    SHOW(setsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &n, -1));
    SHOW(getsockopt(s, SOL_SOCKET, SO_TYPE, &n, &size));
    SHOW(size);
    size = -1;
    SHOW(getsockopt(s, SOL_SOCKET, SO_TYPE, &n, &size));
    SHOW(getsockopt(s, SOL_SOCKET, SO_TYPE, &n, (void *)8));
    SHOW(getsockopt(0, SOL_SOCKET, SO_TYPE, &n, &size));
    SHOW(getsockopt(99, SOL_SOCKET, SO_TYPE, &n, &size));
    return 0;
}
