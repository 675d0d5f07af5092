/* What ports a socket gets and does not: IP_LOCAL_PORT_RANGE, TIME_WAIT. */
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>

#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51
#endif

static struct sockaddr_in local(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

static int port_of(int fd)
{
    struct sockaddr_in a;
    socklen_t len = sizeof a;
    return getsockname(fd, (struct sockaddr *)&a, &len) ? -1 : ntohs(a.sin_port);
}

static void range(unsigned low, unsigned high)
{
    int s = socket(AF_INET, SOCK_STREAM, 0);
    unsigned both = high << 16 | low;
    int set = setsockopt(s, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &both, sizeof both);
    struct sockaddr_in a = local(0);
    int bound = bind(s, (struct sockaddr *)&a, sizeof a);
    int port = port_of(s);
    printf("range %u-%u: %d, bind %d, privileged %d, inside or any %d\n", low, high, set, bound,
           port < 1024, low < 40000 || (port >= (int)low && port <= (int)high));
    close(s);
}

int main(void)
{
    range(80, 1000);
    range(1, 65535);
    range(40000, 40100);
    range(0, 1000);

    /* This end closes first, so that it waits. */
    int l = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = local(0);
    bind(l, (struct sockaddr *)&a, sizeof a);
    listen(l, 1);
    int port = port_of(l);
    a = local(port);
    int c = socket(AF_INET, SOCK_STREAM, 0);
    connect(c, (struct sockaddr *)&a, sizeof a);
    int s = accept(l, NULL, NULL);
    char byte;
    close(s);
    printf("end: %zd\n", read(c, &byte, 1));
    close(c);
    close(l);
    int six = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    int r = bind(six, (struct sockaddr *)&any, sizeof any);
    printf("beside what waits: %d %s\n", r, r ? strerror(errno) : "");
    int on = 1;
    setsockopt(six, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    r = bind(six, (struct sockaddr *)&any, sizeof any);
    printf("of IPv6 alone: %d\n", r);
    return 0;
}
