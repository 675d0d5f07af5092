/* Packet sockets on the loopback of a network namespace of its own: frames out and in, with and without header, filters. */
//@ root=only
//@ options=--user 0
#include "check.h"
#include "namespace.h"
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>

static unsigned char buffer[70000];

static int got(int s, const char *what)
{
    struct sockaddr_ll from = {0};
    socklen_t n = sizeof from;
    long r = recvfrom(s, buffer, sizeof buffer, MSG_DONTWAIT, (void *)&from, &n);
    if (r < 0) {
        say("%s: %s", what, strerrorname_np(errno));
        return 0;
    }
    say("%s: %ld bytes, address of %d: family %d protocol %04x index %d hardware %d type %d length %d", what, r, n,
        from.sll_family, ntohs(from.sll_protocol), from.sll_ifindex, from.sll_hatype, from.sll_pkttype, from.sll_halen);
    return 1;
}

int main(void)
{
    own_network();
    SHOW(socket(AF_PACKET, SOCK_STREAM, 0));
    int all = MUST(socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)));
    int ip = MUST(socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IP)));
    int none = MUST(socket(AF_PACKET, SOCK_RAW, 0));
    struct sockaddr_ll a = {.sll_family = AF_PACKET, .sll_ifindex = 1}, shown;
    socklen_t n = sizeof shown;
    SHOW(getsockname(all, (void *)&shown, &n));
    say("%d bytes, protocol %04x index %d", n, ntohs(shown.sll_protocol), shown.sll_ifindex);
    SHOW(bind(all, (void *)&a, 8));
    a.sll_ifindex = 77;
    SHOW(bind(all, (void *)&a, sizeof a));
    a.sll_ifindex = 1;
    SHOW(bind(all, (void *)&a, sizeof a));
    n = sizeof shown;
    SHOW(getsockname(all, (void *)&shown, &n));
    say("%d bytes, protocol %04x index %d hardware %d length %d", n, ntohs(shown.sll_protocol), shown.sll_ifindex,
        shown.sll_hatype, shown.sll_halen);
    SHOW(getpeername(all, (void *)&shown, &n));
    SHOW(connect(all, (void *)&a, sizeof a));
    SHOW(listen(all, 1));

    int u = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(5000), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    MUST(bind(u, (void *)&to, sizeof to));
    MUST(sendto(u, "hello", 5, 0, (void *)&to, sizeof to));
    pause_ms(20);
    int waiting = 0;
    SHOW(ioctl(all, FIONREAD, &waiting));
    say("%d", waiting);
    got(all, "out");
    got(all, "in");
    say("%.5s", (char *)buffer + 14 + 28);
    got(all, "end");
    got(ip, "without header");
    say("%.5s", (char *)buffer + 28);
    got(ip, "end");
    got(none, "nothing");
    struct tpacket_stats stats;
    n = sizeof stats;
    SHOW(getsockopt(all, SOL_PACKET, PACKET_STATISTICS, &stats, &n));
    say("%u %u", stats.tp_packets, stats.tp_drops);
    SHOW(getsockopt(all, SOL_PACKET, PACKET_STATISTICS, &stats, &n));
    say("%u %u", stats.tp_packets, stats.tp_drops);

    /* A frame of a protocol that nobody knows. */
    int mine = MUST(socket(AF_PACKET, SOCK_DGRAM, htons(0x88b5)));
    SHOW(send(mine, "x", 1, 0));
    struct sockaddr_ll where = {.sll_family = AF_PACKET, .sll_ifindex = 1, .sll_protocol = htons(0x88b5), .sll_halen = 6};
    SHOW(sendto(mine, "frame", 5, 0, (void *)&where, 8));
    SHOW(sendto(mine, "frame", 5, 0, (void *)&where, sizeof where));
    memset(where.sll_addr, 0xff, 6);
    SHOW(sendto(mine, "all", 3, 0, (void *)&where, sizeof where));
    pause_ms(20);
    got(mine, "back");
    got(mine, "broadcast");
    got(mine, "end");
    int i = 0;
    while (i++ < 5 && got(all, "seen"))
        ;
    where.sll_ifindex = 99;
    SHOW(sendto(mine, "x", 1, 0, (void *)&where, sizeof where));
    char frame[20] = {0};
    SHOW(sendto(all, frame, 10, 0, (void *)&a, sizeof a));
    SHOW(recv(all, buffer, 10, MSG_OOB));

    /* What is sent as a frame with loopback addresses is not believed. */
    MUST(sendto(u, "again", 5, 0, (void *)&to, sizeof to));
    pause_ms(20);
    MUST(recv(u, buffer, 100, 0));
    MUST(recv(u, buffer, 100, 0));
    long size = MUST(recv(all, buffer, sizeof buffer, 0));
    while (recv(all, buffer + 1000, 1000, MSG_DONTWAIT) > 0)
        ;
    SHOW(sendto(all, buffer, size, 0, (void *)&a, sizeof a));
    pause_ms(20);
    SHOW(recv(u, buffer, 100, MSG_DONTWAIT));
    got(all, "its own frame comes in");
    got(all, "end");

    /* Filters: ARP alone; then 20 bytes of everything. */
    struct sock_filter arp[] = {BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_ARP, 0, 1),
                                BPF_STMT(BPF_RET | BPF_K, -1), BPF_STMT(BPF_RET | BPF_K, 0)};
    struct sock_filter cut[] = {BPF_STMT(BPF_RET | BPF_K, 20)};
    struct sock_filter bad[] = {BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12)};
    struct sock_fprog program = {4, arp};
    SHOW(setsockopt(all, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
    MUST(sendto(u, "a", 1, 0, (void *)&to, sizeof to));
    pause_ms(20);
    got(all, "filtered");
    program = (struct sock_fprog){1, bad};
    SHOW(setsockopt(all, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
    program = (struct sock_fprog){1, cut};
    SHOW(setsockopt(all, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
    int on = 1;
    SHOW(setsockopt(all, SOL_PACKET, PACKET_AUXDATA, &on, sizeof on));
    MUST(sendto(u, "a", 1, 0, (void *)&to, sizeof to));
    pause_ms(20);
    char control[200];
    struct iovec v = {buffer, sizeof buffer};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    SHOW(recvmsg(all, &m, MSG_DONTWAIT));
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    struct tpacket_auxdata *aux = (void *)CMSG_DATA(c);
    say("level %d type %d length %zu snap %u mac %d net %d", c->cmsg_level, c->cmsg_type, c->cmsg_len, aux->tp_snaplen,
        aux->tp_mac, aux->tp_net);
    SHOW(setsockopt(all, SOL_SOCKET, SO_DETACH_FILTER, &on, sizeof on));
    SHOW(setsockopt(all, SOL_SOCKET, SO_DETACH_FILTER, &on, sizeof on));
    struct packet_mreq promiscuous = {.mr_ifindex = 1, .mr_type = PACKET_MR_PROMISC};
    SHOW(setsockopt(all, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof promiscuous));
    SHOW(setsockopt(all, SOL_PACKET, PACKET_DROP_MEMBERSHIP, &promiscuous, sizeof promiscuous));
    promiscuous.mr_ifindex = 99;
    SHOW(setsockopt(all, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof promiscuous));
    return 0;
}
