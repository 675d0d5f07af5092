/* What programs learn of interfaces: getifaddrs, ioctls, netlink. In a namespace of its own natively, since the host has more. */
//@ root=only static=no
#include "check.h"
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netdb.h>

int main(void)
{
    struct ifreq r = {.ifr_name = "lo"};
    int s = -1;
    /* Inside there is nothing to unshare: loopback is all there is. */
    if (unshare(CLONE_NEWNET) == 0) {
        s = MUST(socket(AF_INET, SOCK_DGRAM, 0));
        if (ioctl(s, SIOCGIFFLAGS, &r) == 0 && !(r.ifr_flags & IFF_UP)) {
            r.ifr_flags |= IFF_UP;
            MUST(ioctl(s, SIOCSIFFLAGS, &r));
        }
    } else
        s = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    struct ifaddrs *list;
    SHOW(getifaddrs(&list));
    for (struct ifaddrs *i = list; i; i = i->ifa_next) {
        char host[100] = "-", mask[100] = "-";
        if (i->ifa_addr && i->ifa_addr->sa_family != AF_PACKET) {
            socklen_t n = i->ifa_addr->sa_family == AF_INET ? 16 : 28;
            getnameinfo(i->ifa_addr, n, host, 100, NULL, 0, NI_NUMERICHOST);
            getnameinfo(i->ifa_netmask, n, mask, 100, NULL, 0, NI_NUMERICHOST);
        }
        say("%s family %d flags %#x %s %s", i->ifa_name, i->ifa_addr ? i->ifa_addr->sa_family : -1, i->ifa_flags, host, mask);
    }
    SHOW(if_nametoindex("lo"));
    SHOW(if_nametoindex("nonesuch"));
    struct ifconf c = {.ifc_len = 0};
    SHOW(ioctl(s, SIOCGIFCONF, &c));
    SHOW(c.ifc_len);
    strcpy(r.ifr_name, "lo");
    SHOW(ioctl(s, SIOCGIFMTU, &r));
    SHOW(r.ifr_mtu);
    SHOW(ioctl(s, SIOCGIFADDR, &r));
    say("%s", inet_ntoa(((struct sockaddr_in *)&r.ifr_addr)->sin_addr));
    SHOW(ioctl(s, SIOCGIFNETMASK, &r));
    say("%s", inet_ntoa(((struct sockaddr_in *)&r.ifr_netmask)->sin_addr));
    SHOW(ioctl(s, SIOCGIFHWADDR, &r));
    SHOW(r.ifr_hwaddr.sa_family);
    SHOW(ioctl(s, SIOCGIFINDEX, &r));
    SHOW(r.ifr_ifindex);
    SHOW(ioctl(s, SIOCGIFNAME, &r));
    say("%s", r.ifr_name);
    strcpy(r.ifr_name, "eth7");
    SHOW(ioctl(s, SIOCGIFFLAGS, &r));
    SHOW(ioctl(s, SIOCGIFADDR, &r));

    int n = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
    SHOW(socket(AF_NETLINK, SOCK_STREAM, NETLINK_ROUTE));
    SHOW(socket(AF_NETLINK, SOCK_RAW, 99));
    struct sockaddr_nl a = {.nl_family = AF_NETLINK};
    socklen_t len = sizeof a;
    SHOW(getsockname(n, (void *)&a, &len));
    SHOW(a.nl_pid);
    SHOW(bind(n, (void *)&a, sizeof a));
    SHOW(getsockname(n, (void *)&a, &len));
    say("own pid %d groups %u length %u", (int)a.nl_pid == getpid(), a.nl_groups, len);
    SHOW(bind(n, (void *)&a, 3));
    struct {
        struct nlmsghdr h;
        struct rtmsg m;
        struct rtattr t;
        unsigned char dst[4];
    } q = {{sizeof q, RTM_GETROUTE, NLM_F_REQUEST, 1, 0}, {.rtm_family = AF_INET, .rtm_dst_len = 32}, {8, RTA_DST}, {127, 0, 0, 1}};
    char buffer[8192];
    struct nlmsghdr *h = (void *)buffer;
    SHOW(send(n, &q, sizeof q, 0));
    WORKS(recv(n, buffer, sizeof buffer, 0));
    SHOW(h->nlmsg_type);
    SHOW(((struct rtmsg *)NLMSG_DATA(h))->rtm_type);
    q.dst[0] = 10;
    SHOW(send(n, &q, sizeof q, 0));
    WORKS(recv(n, buffer, sizeof buffer, 0));
    SHOW(h->nlmsg_type);
    SHOW(((struct nlmsgerr *)NLMSG_DATA(h))->error);
    q.h.nlmsg_type = 200;
    SHOW(send(n, &q, sizeof q, 0));
    WORKS(recv(n, buffer, sizeof buffer, 0));
    SHOW(((struct nlmsgerr *)NLMSG_DATA(h))->error);
    q.h.nlmsg_type = RTM_GETROUTE;
    q.h.nlmsg_flags |= NLM_F_DUMP;
    q.m.rtm_dst_len = 0;
    SHOW(send(n, &q.h, sizeof q.h + sizeof q.m, 0));
    int routes = 0, done = 0;
    while (!done) {
        int got = MUST(recv(n, buffer, sizeof buffer, 0));
        for (h = (void *)buffer; NLMSG_OK(h, got); h = NLMSG_NEXT(h, got)) {
            done |= h->nlmsg_type == NLMSG_DONE;
            if (h->nlmsg_type == RTM_NEWROUTE) {
                struct rtmsg *m = NLMSG_DATA(h);
                say("route family %d length %d table %d protocol %d scope %d type %d", m->rtm_family, m->rtm_dst_len, m->rtm_table, m->rtm_protocol, m->rtm_scope, m->rtm_type);
                routes++;
            }
        }
    }
    SHOW(routes);
    SHOW(recv(n, buffer, sizeof buffer, MSG_DONTWAIT));
    struct pollfd p = {n, POLLIN | POLLOUT, 0};
    SHOW(poll(&p, 1, 0));
    SHOW(p.revents);
    return 0;
}
