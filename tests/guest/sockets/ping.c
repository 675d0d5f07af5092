/* Ping sockets (icmp(7)) in a network namespace of its own: who may, identifiers, answers. */
//@ root=only
//@ options=--user 0
#include "check.h"
#include "namespace.h"
#include <arpa/inet.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>

int main(void)
{
    own_network();
    SHOW(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP));
    SHOW(socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6));
    int f = MUST(open("/proc/sys/net/ipv4/ping_group_range", O_RDWR));
    char text[50] = {0};
    SHOW(read(f, text, 49));
    say("%s", text);
    SHOW(pwrite(f, "0", 1, 0));
    SHOW(pwrite(f, "0 1000", 6, 0));
    memset(text, 0, sizeof text);
    SHOW(pread(f, text, 49, 0));
    say("%s", text);
    int s = MUST(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP)), t = MUST(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP));
    struct sockaddr_in lo = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, a;
    struct icmphdr echo = {.type = ICMP_ECHO, .un.echo = {.id = htons(1), .sequence = htons(7)}};
    unsigned char got[100];
    SHOW(sendto(s, &echo, 4, 0, (void *)&lo, sizeof lo));
    echo.type = ICMP_ECHOREPLY;
    SHOW(sendto(s, &echo, sizeof echo, 0, (void *)&lo, sizeof lo));
    echo.type = ICMP_ECHO;
    SHOW(sendto(s, &echo, sizeof echo, 0, (void *)&lo, sizeof lo));
    pause_ms(20);
    socklen_t n = sizeof a;
    SHOW(recvfrom(s, got, sizeof got, MSG_DONTWAIT, (void *)&a, &n));
    struct icmphdr *r = (void *)got;
    struct sockaddr_in own;
    n = sizeof own;
    SHOW(getsockname(s, (void *)&own, &n));
    say("type %d sequence %d, identifier is the port %d, from port %d", r->type, ntohs(r->un.echo.sequence),
        r->un.echo.id == own.sin_port && own.sin_port != htons(1), a.sin_port);
    SHOW(recv(t, got, sizeof got, MSG_DONTWAIT));
    SHOW(bind(t, (void *)&own, sizeof own));
    own.sin_port = htons(4242);
    SHOW(bind(t, (void *)&own, sizeof own));
    SHOW(bind(t, (void *)&own, sizeof own));
    SHOW(connect(t, (void *)&lo, sizeof lo));
    SHOW(send(t, &echo, sizeof echo, 0));
    pause_ms(20);
    SHOW(recv(t, got, sizeof got, MSG_DONTWAIT));
    n = sizeof a;
    SHOW(getsockname(t, (void *)&a, &n));
    say("its identifier %d", r->un.echo.id == a.sin_port);
    int v = 0;
    n = sizeof v;
    SHOW(getsockopt(t, SOL_SOCKET, SO_TYPE, &v, &n));
    say("%d", v);
    SHOW(getsockopt(t, SOL_SOCKET, SO_PROTOCOL, &v, &n));
    say("%d", v);
    int six = MUST(socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6));
    struct sockaddr_in6 lo6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct icmp6_hdr ask = {.icmp6_type = ICMP6_ECHO_REQUEST, .icmp6_seq = htons(9)};
    SHOW(sendto(six, &ask, sizeof ask, 0, (void *)&lo6, sizeof lo6));
    pause_ms(20);
    SHOW(recv(six, got, sizeof got, MSG_DONTWAIT));
    say("type %d sequence %d", got[0], got[7]);
    return 0;
}
