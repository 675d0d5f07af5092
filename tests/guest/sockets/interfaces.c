/* rtnetlink in a network namespace of its own: links and addresses come, change, go, and are announced. */
//@ root=only
//@ options=--user 0
#include "check.h"
#include "namespace.h"
#include "rtnetlink.h"
#include <linux/if_arp.h>

static void show(struct nlmsghdr *h)
{
    char text[64] = "";
    if (h->nlmsg_type == RTM_NEWLINK || h->nlmsg_type == RTM_DELLINK) {
        struct ifinfomsg *m = NLMSG_DATA(h);
        int left = h->nlmsg_len - NLMSG_LENGTH(sizeof *m), mtu = 0;
        const char *name = "?";
        for (struct rtattr *a = IFLA_RTA(m); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
            if (a->rta_type == IFLA_IFNAME)
                name = RTA_DATA(a);
            if (a->rta_type == IFLA_MTU)
                mtu = *(int *)RTA_DATA(a);
        }
        say(" link %d: %s index %d type %d flags %x mtu %d", h->nlmsg_type, name, m->ifi_index, m->ifi_type,
            m->ifi_flags & ~IFF_NOARP, mtu);
    } else if (h->nlmsg_type == RTM_NEWADDR || h->nlmsg_type == RTM_DELADDR) {
        struct ifaddrmsg *m = NLMSG_DATA(h);
        int left = h->nlmsg_len - NLMSG_LENGTH(sizeof *m);
        for (struct rtattr *a = IFA_RTA(m); RTA_OK(a, left); a = RTA_NEXT(a, left))
            if (a->rta_type == IFA_ADDRESS)
                inet_ntop(m->ifa_family, RTA_DATA(a), text, sizeof text);
        /* Those that the kernel itself makes of a link's hardware address differ. */
        if (strncmp(text, "fe80", 4))
            say(" address %d: %s/%d index %d scope %d", h->nlmsg_type, text, m->ifa_prefixlen, m->ifa_index, m->ifa_scope);
    } else {
        say(" message %d", h->nlmsg_type);
    }
}

static void news(int s, const char *what)
{
    say("%s", what);
    for (long n; (n = recv(s, answer, sizeof answer, MSG_DONTWAIT)) > 0;)
        for (struct nlmsghdr *h = (void *)answer; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n))
            show(h);
}

static void dump(int s, int type, int family)
{
    struct rtgenmsg g = {family};
    begin(type, NLM_F_DUMP, &g, sizeof g);
    MUST(send(s, request, ((struct nlmsghdr *)request)->nlmsg_len, 0));
    say("dump %d", type);
    for (int done = 0; !done;) {
        long n = MUST(recv(s, answer, sizeof answer, 0));
        for (struct nlmsghdr *h = (void *)answer; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n))
            if (h->nlmsg_type == NLMSG_DONE)
                done = 1;
            else
                show(h);
    }
}

/* The same of another link, which is not the same kind everywhere. */
static void later(int s, int index)
{
    for (long n; (n = recv(s, answer, sizeof answer, MSG_DONTWAIT)) > 0;)
        for (struct nlmsghdr *h = (void *)answer; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n))
            if (h->nlmsg_type == RTM_NEWLINK || h->nlmsg_type == RTM_DELLINK) {
                struct ifinfomsg *m = NLMSG_DATA(h);
                say(" link %d: that %d, up %d", h->nlmsg_type, m->ifi_index == index, (m->ifi_flags & IFF_UP) != 0);
            } else {
                struct ifaddrmsg *m = NLMSG_DATA(h);
                say(" address %d: that %d", h->nlmsg_type, (int)m->ifa_index == index);
            }
}

int main(void)
{
    own_network();
    int s = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)), listener = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
    struct sockaddr_nl a = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR};
    MUST(bind(listener, (void *)&a, sizeof a));
    dump(s, RTM_GETLINK, AF_UNSPEC);
    dump(s, RTM_GETADDR, AF_INET);

    int index = 1;
    address(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, index, "10.9.8.7", 24);
    acknowledged(s, "new address");
    acknowledged(s, "again");
    struct ifinfomsg change = {.ifi_index = index};
    begin(RTM_NEWLINK, 0, &change, sizeof change);
    int mtu = 1400;
    attribute(IFLA_MTU, &mtu, 4);
    acknowledged(s, "mtu");
    news(listener, "news");
    dump(s, RTM_GETADDR, AF_INET);

    int u = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(5000)}, other = own, far = own;
    inet_pton(AF_INET, "10.9.8.7", &own.sin_addr);
    inet_pton(AF_INET, "10.9.8.9", &other.sin_addr);
    inet_pton(AF_INET, "10.99.8.9", &far.sin_addr);
    SHOW(bind(u, (void *)&own, sizeof own));
    SHOW(sendto(u, "self", 4, 0, (void *)&own, sizeof own));
    char data[10];
    SHOW(recv(u, data, 10, 0));
    SHOW(sendto(u, "own net", 7, 0, (void *)&other, sizeof other));
    SHOW(sendto(u, "nowhere", 7, 0, (void *)&far, sizeof far));
    address(RTM_DELADDR, 0, index, "10.9.8.7", 24);
    acknowledged(s, "address gone");
    acknowledged(s, "again");
    address(RTM_NEWADDR, NLM_F_CREATE, 4711, "10.9.8.7", 24);
    acknowledged(s, "no such link");
    address(RTM_NEWADDR, NLM_F_CREATE, 1, "10.1.1.1", 33);
    acknowledged(s, "bad prefix");
    struct ifinfomsg gone = {.ifi_index = 1};
    begin(RTM_DELLINK, 0, &gone, sizeof gone);
    acknowledged(s, "loopback");
    gone.ifi_index = 4711;
    begin(RTM_DELLINK, 0, &gone, sizeof gone);
    acknowledged(s, "none");
    news(listener, "news");

    /* ioctls. */
    struct ifreq q = {.ifr_name = "lo"};
    SHOW(ioctl(u, SIOCGIFMTU, &q));
    say("%d", q.ifr_mtu);
    q.ifr_mtu = 1600;
    SHOW(ioctl(u, SIOCSIFMTU, &q));
    SHOW(ioctl(u, SIOCGIFMTU, &q));
    say("%d", q.ifr_mtu);
    struct sockaddr_in *mask = (void *)&q.ifr_netmask;
    SHOW(ioctl(u, SIOCGIFNETMASK, &q));
    say("%x", ntohl(mask->sin_addr.s_addr));
    q.ifr_flags = 0;
    SHOW(ioctl(u, SIOCSIFFLAGS, &q));
    dump(s, RTM_GETADDR, AF_UNSPEC);
    SHOW(sendto(u, "down", 4, 0, (void *)&own, sizeof own));

    /* A link that goes is switched off before, and its addresses go. */
    news(listener, "until now");
    int dead = dead_link(s, "out0");
    address(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, dead, "10.1.0.1", 24);
    acknowledged(s, "address of a link");
    set_up(s, dead, 1);
    say("announced");
    later(listener, dead);
    gone.ifi_index = dead;
    begin(RTM_DELLINK, 0, &gone, sizeof gone);
    acknowledged(s, "link gone");
    later(listener, dead);
    return 0;
}
