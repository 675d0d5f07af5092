/* Joining multicast groups by the protocol-independent options (RFC 3678). */
#include "check.h"
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>

static struct group_req request(int family, const char *text, unsigned index)
{
    struct group_req r;
    memset(&r, 0, sizeof r);
    r.gr_interface = index;
    if (family == AF_INET) {
        struct sockaddr_in *a = (void *)&r.gr_group;
        a->sin_family = AF_INET;
        inet_pton(AF_INET, text, &a->sin_addr);
    } else {
        struct sockaddr_in6 *a = (void *)&r.gr_group;
        a->sin6_family = AF_INET6;
        inet_pton(AF_INET6, text, &a->sin6_addr);
    }
    return r;
}

static void both(int family, int type, int level, const char *good, const char *bad, const char *other)
{
    unsigned lo = if_nametoindex("lo");
    int fd = MUST(socket(family, type, 0));
    struct group_req r = request(family, good, lo);
    SHOW(setsockopt(fd, level, MCAST_JOIN_GROUP, &r, sizeof r));
    SHOW(setsockopt(fd, level, MCAST_JOIN_GROUP, &r, sizeof r));
    SHOW(setsockopt(fd, level, MCAST_JOIN_GROUP, &r, 20));
    SHOW(setsockopt(fd, level, MCAST_LEAVE_GROUP, &r, sizeof r));
    SHOW(setsockopt(fd, level, MCAST_LEAVE_GROUP, &r, sizeof r));
    r = request(family, bad, lo);
    SHOW(setsockopt(fd, level, MCAST_JOIN_GROUP, &r, sizeof r));
    r = request(family, good, 4711);
    SHOW(setsockopt(fd, level, MCAST_JOIN_GROUP, &r, sizeof r));
    r = request(family == AF_INET ? AF_INET6 : AF_INET, other, lo);
    SHOW(setsockopt(fd, level, MCAST_JOIN_GROUP, &r, sizeof r));
    close(fd);
}

int main(void)
{
    both(AF_INET, SOCK_DGRAM, IPPROTO_IP, "239.1.2.3", "127.0.0.1", "ff02::1234");
    both(AF_INET6, SOCK_DGRAM, IPPROTO_IPV6, "ff02::1234", "::1", "239.1.2.3");
    both(AF_INET, SOCK_STREAM, IPPROTO_IP, "239.1.2.3", "127.0.0.1", "ff02::1234");
    /* A connection does not have what its listener joined. */
    int listener = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct group_req r = request(AF_INET, "239.1.2.3", 0);
    r.gr_interface = if_nametoindex("lo");
    SHOW(setsockopt(listener, IPPROTO_IP, MCAST_JOIN_GROUP, &r, sizeof r));
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    MUST(bind(listener, (void *)&at, sizeof at));
    MUST(listen(listener, 1));
    MUST(getsockname(listener, (void *)&at, &size));
    int client = MUST(socket(AF_INET, SOCK_STREAM, 0));
    MUST(connect(client, (void *)&at, size));
    int server = MUST(accept(listener, NULL, NULL));
    SHOW(setsockopt(server, IPPROTO_IP, MCAST_LEAVE_GROUP, &r, sizeof r));
    SHOW(setsockopt(listener, IPPROTO_IP, MCAST_LEAVE_GROUP, &r, sizeof r));
    return 0;
}
