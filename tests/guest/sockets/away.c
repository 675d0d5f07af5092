/* What goes out of an interface behind which nobody is: who sees it, and when a connection there is given up. */
//@ root=only
//@ options=--user 0
#include "check.h"
#include "namespace.h"
#include "rtnetlink.h"
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/tcp.h>

static int packets, raw, listener;

static struct sockaddr_in to(const char *text, int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, text, &a.sin_addr);
    return a;
}

/* What was seen of UDP: interface, way, whether the frame begins with the interface's own address twice. */
static void seen(const char *what)
{
    unsigned char frame[2000];
    struct sockaddr_ll from;
    socklen_t size = sizeof from;
    char name[IF_NAMESIZE];
    say("%s", what);
    for (long n; (n = recvfrom(packets, frame, sizeof frame, MSG_DONTWAIT, (void *)&from, &size)) > 0; size = sizeof from)
        if (n > 42 && from.sll_protocol == htons(ETH_P_IP) && frame[23] == IPPROTO_UDP)
            say(" %s way %d type %d, as if to itself %d, \"%.4s\"", if_indextoname(from.sll_ifindex, name), from.sll_pkttype,
                from.sll_hatype != 772, !memcmp(frame, frame + 6, 6), (char *)frame + 42);
    while (recv(raw, frame, sizeof frame, MSG_DONTWAIT) > 0)
        say(" raw");
    while (recv(listener, frame, sizeof frame, MSG_DONTWAIT) > 0)
        say(" udp");
}

static void give_up(const char *where, int count, unsigned limit, long least, long most)
{
    struct sockaddr_in a = to(where, 4000);
    int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    MUST(setsockopt(s, IPPROTO_TCP, TCP_SYNCNT, &count, sizeof count));
    MUST(setsockopt(s, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit, sizeof limit));
    long begin = now_ms();
    int r = connect(s, (void *)&a, sizeof a);
    say("%s, %d times, %u ms: %s, in time %d", where, count, limit, r < 0 ? strerrorname_np(errno) : "works",
        now_ms() - begin >= least && now_ms() - begin < most);
    /* It can be used again. */
    struct sockaddr_in own = to("127.0.0.1", 4001);
    SHOW(connect(s, (void *)&own, sizeof own));
    close(s);
}

int main(void)
{
    own_network();
    int s = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
    int index = dead_link(s, "away0");
    address(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, index, "10.1.0.1", 24);
    struct in_addr everybody = {htonl(0x0a0100ff)};
    attribute(IFA_BROADCAST, &everybody, 4);
    say("address: %d", outcome(s));
    set_up(s, index, 1);

    packets = MUST(socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)));
    raw = MUST(socket(AF_INET, SOCK_RAW, IPPROTO_UDP));
    listener = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    struct sockaddr_in a = to("0.0.0.0", 5000);
    int on = 1;
    MUST(bind(listener, (void *)&a, sizeof a));
    int u = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    a = to("10.1.0.9", 5000);
    SHOW(sendto(u, "away", 4, 0, (void *)&a, sizeof a));
    seen("to somebody");
    a = to("10.1.0.1", 5000);
    SHOW(sendto(u, "self", 4, 0, (void *)&a, sizeof a));
    seen("to itself");
    a = to("10.1.0.255", 5000);
    SHOW(sendto(u, "many", 4, 0, (void *)&a, sizeof a));
    MUST(setsockopt(u, SOL_SOCKET, SO_BROADCAST, &on, sizeof on));
    SHOW(sendto(u, "many", 4, 0, (void *)&a, sizeof a));
    seen("to all");
    a = to("10.1.0.9", 0);
    /* A datagram by hand. */
    unsigned char hand[12] = {5000 >> 8, 5000 & 255, 5000 >> 8, 5000 & 255, 0, 12, 0, 0, 'h', 'a', 'n', 'd'};
    SHOW(sendto(raw, hand, sizeof hand, 0, (void *)&a, sizeof a));
    seen("by hand");

    int l = MUST(socket(AF_INET, SOCK_STREAM, 0));
    a = to("127.0.0.1", 4001);
    MUST(bind(l, (void *)&a, sizeof a));
    MUST(listen(l, 5));
    give_up("10.1.0.9", 1, 0, 2900, 9000);
    give_up("10.1.0.9", 6, 1500, 1400, 9000);

    /* A listener whose queue is full does not answer either. */
    a = to("127.0.0.1", 4002);
    int full = MUST(socket(AF_INET, SOCK_STREAM, 0)), more[2], count = 1, e = 0;
    MUST(bind(full, (void *)&a, sizeof a));
    MUST(listen(full, 0));
    more[0] = MUST(socket(AF_INET, SOCK_STREAM, 0));
    MUST(connect(more[0], (void *)&a, sizeof a));
    more[1] = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    MUST(setsockopt(more[1], IPPROTO_TCP, TCP_SYNCNT, &count, sizeof count));
    SHOW(connect(more[1], (void *)&a, sizeof a));
    struct pollfd p = {more[1], POLLIN | POLLOUT | POLLRDHUP, 0};
    long begin = now_ms();
    SHOW(poll(&p, 1, 10000));
    say("events %x, in time %d", p.revents, now_ms() - begin >= 2900 && now_ms() - begin < 9000);
    socklen_t size = sizeof e;
    SHOW(getsockopt(more[1], SOL_SOCKET, SO_ERROR, &e, &size));
    say("%s", strerrorname_np(e));
    SHOW(connect(more[1], (void *)&a, sizeof a));
    return 0;
}
