/* Raw sockets over the loopback of a network namespace of its own: ICMP echo, UDP both ways, headers made by hand, filters. */
//@ root=only
//@ options=--user 0
#include "check.h"
#include "namespace.h"
#include <arpa/inet.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>

static struct sockaddr_in v4(const char *ip, int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, ip, &a.sin_addr);
    return a;
}

static unsigned short sum(const void *data, int n)
{
    const unsigned char *b = data;
    unsigned s = 0;
    for (int i = 0; i < n; i += 2)
        s += b[i] << 8 | (i + 1 < n ? b[i + 1] : 0);
    while (s >> 16)
        s = (s & 0xffff) + (s >> 16);
    return htons(~s & 0xffff);
}

static unsigned char buffer[70000];

static void got(int s, const char *what)
{
    struct sockaddr_in from = {0};
    socklen_t n = sizeof from;
    long r = recvfrom(s, buffer, sizeof buffer, MSG_DONTWAIT, (void *)&from, &n);
    if (r < 0) {
        say("%s: %s", what, strerrorname_np(errno));
        return;
    }
    char text[64];
    inet_ntop(AF_INET, &from.sin_addr, text, sizeof text);
    struct iphdr *h = (void *)buffer;
    say("%s: %ld bytes from %s port %d: version %d length %d protocol %d ttl %d type %d code %d", what, r, text,
        from.sin_port, h->version, ntohs(h->tot_len), h->protocol, h->ttl, buffer[20], buffer[21]);
}

int main(void)
{
    own_network();
    struct sockaddr_in lo = v4("127.0.0.1", 0), shown;
    socklen_t n = sizeof shown;
    SHOW(socket(AF_INET, SOCK_RAW, 0));
    SHOW(socket(AF_INET, SOCK_RAW, 256 + 10));
    int s = MUST(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)), other = MUST(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
    SHOW(getsockname(s, (void *)&shown, &n));
    say("port %d", ntohs(shown.sin_port));
    SHOW(send(s, "x", 1, 0));
    struct {
        struct icmphdr h;
        char data[8];
    } echo = {.h = {.type = ICMP_ECHO, .un.echo = {htons(77), htons(1)}}, .data = "payload"};
    echo.h.checksum = sum(&echo, sizeof echo);
    SHOW(sendto(s, &echo, sizeof echo, 0, (void *)&lo, sizeof lo));
    pause_ms(20);
    got(s, "request");
    got(s, "reply");
    say("same payload %d", memcmp(buffer + 28, "payload", 8) == 0);
    got(s, "end");
    got(other, "other's request");

    /* ICMP_FILTER; connect and bind choose. */
    unsigned filter = ~(1u << ICMP_ECHOREPLY), value = 0;
    SHOW(setsockopt(s, SOL_RAW, 1, &filter, sizeof filter));
    n = sizeof value;
    SHOW(getsockopt(s, SOL_RAW, 1, &value, &n));
    say("%x %d", value, n);
    struct sockaddr_in two = v4("127.0.0.2", 0);
    SHOW(bind(other, (void *)&two, sizeof two));
    while (recv(other, buffer, sizeof buffer, MSG_DONTWAIT) > 0)
        ;
    SHOW(sendto(s, &echo, sizeof echo, 0, (void *)&lo, sizeof lo));
    pause_ms(20);
    got(s, "only the reply");
    got(s, "end");
    got(other, "not for it");
    SHOW(connect(s, (void *)&two, sizeof two));
    SHOW(getpeername(s, (void *)&shown, &n));
    SHOW(send(s, &echo, sizeof echo, 0));
    pause_ms(20);
    got(s, "from the peer");

    /* A UDP datagram is seen, and one made by hand arrives. */
    int raw = MUST(socket(AF_INET, SOCK_RAW, IPPROTO_UDP)), u = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    struct sockaddr_in port = v4("127.0.0.1", 5000);
    SHOW(bind(u, (void *)&port, sizeof port));
    SHOW(sendto(u, "self", 4, 0, (void *)&port, sizeof port));
    pause_ms(20);
    got(raw, "datagram");
    say("%.4s", (char *)buffer + 28);
    SHOW(recv(u, buffer, 100, 0));
    struct {
        struct udphdr h;
        char data[6];
    } made = {{.source = htons(1234), .dest = htons(5000), .len = htons(14)}, "forged"};
    SHOW(sendto(raw, &made, sizeof made, 0, (void *)&lo, sizeof lo));
    pause_ms(20);
    struct sockaddr_in from;
    n = sizeof from;
    SHOW(recvfrom(u, buffer, 100, MSG_DONTWAIT, (void *)&from, &n));
    say("%.6s from port %d", buffer, ntohs(from.sin_port));
    /* Nobody there: port unreachable. */
    int hears = MUST(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
    made.h.dest = htons(9);
    SHOW(sendto(raw, &made, sizeof made, 0, (void *)&lo, sizeof lo));
    pause_ms(20);
    got(hears, "unreachable");

    /* IP_HDRINCL. */
    int hand = MUST(socket(AF_INET, SOCK_RAW, IPPROTO_RAW)), on = 0;
    n = sizeof on;
    SHOW(getsockopt(hand, IPPROTO_IP, IP_HDRINCL, &on, &n));
    say("on %d", on);
    struct {
        struct iphdr ip;
        struct udphdr h;
        char data[4];
    } whole = {{.version = 4, .ihl = 5, .ttl = 9, .protocol = IPPROTO_UDP, .daddr = htonl(INADDR_LOOPBACK),
                .saddr = htonl(0x7f000003)},
               {.source = htons(7), .dest = htons(5000), .len = htons(12)},
               "hand"};
    SHOW(sendto(hand, &whole, 10, 0, (void *)&lo, sizeof lo));
    SHOW(sendto(hand, &whole, sizeof whole, 0, (void *)&lo, sizeof lo));
    pause_ms(20);
    n = sizeof from;
    SHOW(recvfrom(u, buffer, 100, MSG_DONTWAIT, (void *)&from, &n));
    say("%.4s from %x port %d", buffer, ntohl(from.sin_addr.s_addr), ntohs(from.sin_port));
    SHOW(recv(hand, buffer, 100, MSG_DONTWAIT));
    SHOW(sendto(raw, buffer, 65516, 0, (void *)&lo, sizeof lo));
    SHOW(sendto(raw, buffer, 66000, 0, (void *)&lo, sizeof lo));
    SHOW(listen(raw, 1));
    SHOW(shutdown(raw, SHUT_RDWR));

    /* ICMPv6: no header, the checksum is the kernel's, and a filter by types. */
    int six = MUST(socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6));
    struct icmp6_filter only;
    ICMP6_FILTER_SETBLOCKALL(&only);
    ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &only);
    SHOW(setsockopt(six, IPPROTO_ICMPV6, ICMP6_FILTER, &only, sizeof only));
    int offset = 2;
    SHOW(setsockopt(six, IPPROTO_IPV6, IPV6_CHECKSUM, &offset, sizeof offset));
    struct sockaddr_in6 lo6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct icmp6_hdr ask = {.icmp6_type = ICMP6_ECHO_REQUEST, .icmp6_id = htons(3), .icmp6_seq = htons(4)};
    SHOW(sendto(six, &ask, sizeof ask, 0, (void *)&lo6, sizeof lo6));
    pause_ms(20);
    SHOW(recv(six, buffer, 100, MSG_DONTWAIT));
    say("type %d id %d seq %d", buffer[0], buffer[5], buffer[7]);
    SHOW(recv(six, buffer, 100, MSG_DONTWAIT));
    return 0;
}
