/* Routes: what of a request is refused, and what is replaced. */
//@ root=only
//@ options=--user 0
#include "check.h"
#include "namespace.h"
#include "rtnetlink.h"

static int s, link_index;

struct route {
    const char *dst, *gateway, *source;
    int len, metric, oif, table, flags, family;
};

static void with_address(int type, const char *text)
{
    unsigned char raw[16];
    int family = strchr(text, ':') ? AF_INET6 : AF_INET;
    inet_pton(family, text, raw);
    attribute(type, raw, family == AF_INET ? 4 : 16);
}

static void ask(int type, struct route r)
{
    int family = r.family ? r.family : strchr(r.dst, ':') ? AF_INET6 : AF_INET;
    struct rtmsg m = {.rtm_family = family, .rtm_dst_len = r.len, .rtm_table = r.table ? r.table : RT_TABLE_MAIN,
                      .rtm_protocol = RTPROT_BOOT, .rtm_type = RTN_UNICAST,
                      .rtm_scope = type == RTM_DELROUTE ? RT_SCOPE_NOWHERE : r.gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK};
    if (type == RTM_DELROUTE)
        m.rtm_protocol = m.rtm_type = 0;
    begin(type, r.flags, &m, sizeof m);
    with_address(RTA_DST, r.dst);
    if (r.gateway)
        with_address(RTA_GATEWAY, r.gateway);
    if (r.source)
        with_address(RTA_PREFSRC, r.source);
    if (r.metric)
        attribute(RTA_PRIORITY, &r.metric, 4);
    int oif = r.oif ? r.oif : link_index;
    if (oif > 0)
        attribute(RTA_OIF, &oif, 4);
    int e = outcome(s);
    say("%s %s/%d via %s from %s metric %d flags %x: %s", type == RTM_NEWROUTE ? "new" : "del", r.dst, r.len,
        r.gateway ? r.gateway : "-", r.source ? r.source : "-", r.metric, r.flags, e ? strerrorname_np(e) : "done");
}
#define NEW(...) ask(RTM_NEWROUTE, (struct route){.flags = NLM_F_CREATE | NLM_F_EXCL, __VA_ARGS__})
#define REPLACE(...) ask(RTM_NEWROUTE, (struct route){.flags = NLM_F_CREATE | NLM_F_REPLACE, __VA_ARGS__})
#define DEL(...) ask(RTM_DELROUTE, (struct route){__VA_ARGS__})

/* The main table, less what Linux itself makes of links' hardware addresses. */
static void table(int family)
{
    struct rtmsg g = {.rtm_family = family};
    begin(RTM_GETROUTE, NLM_F_DUMP, &g, sizeof g);
    MUST(send(s, request, ((struct nlmsghdr *)request)->nlmsg_len, 0));
    for (int done = 0; !done;) {
        long n = MUST(recv(s, answer, sizeof answer, 0));
        for (struct nlmsghdr *h = (void *)answer; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
            if (h->nlmsg_type == NLMSG_DONE) {
                done = 1;
                break;
            }
            struct rtmsg *m = NLMSG_DATA(h);
            char dst[64] = "default", via[64] = "-", source[64] = "-";
            int left = h->nlmsg_len - NLMSG_LENGTH(sizeof *m), metric = 0, oif = 0;
            for (struct rtattr *a = RTM_RTA(m); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
                if (a->rta_type == RTA_DST)
                    inet_ntop(m->rtm_family, RTA_DATA(a), dst, sizeof dst);
                if (a->rta_type == RTA_GATEWAY)
                    inet_ntop(m->rtm_family, RTA_DATA(a), via, sizeof via);
                if (a->rta_type == RTA_PREFSRC)
                    inet_ntop(m->rtm_family, RTA_DATA(a), source, sizeof source);
                if (a->rta_type == RTA_PRIORITY)
                    metric = *(int *)RTA_DATA(a);
                if (a->rta_type == RTA_OIF)
                    oif = *(int *)RTA_DATA(a);
            }
            if (m->rtm_table == RT_TABLE_MAIN && strncmp(dst, "fe80", 4) && strncmp(dst, "ff00", 4))
                say(" %s/%d via %s from %s metric %d %s protocol %d", dst, m->rtm_dst_len, via, source, metric,
                    oif == link_index ? "link" : "other", m->rtm_protocol);
        }
    }
}

int main(void)
{
    own_network();
    s = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
    link_index = dead_link(s, "out0");
    address(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, link_index, "10.1.0.1", 24);
    say("address %d", outcome(s));
    NEW(.dst = "10.5.0.0", .len = 16);
    set_up(s, link_index, 1);
    table(AF_INET);

    say("-- refused");
    NEW(.dst = "10.5.0.1", .len = 16);
    NEW(.dst = "10.5.0.0", .len = 33);
    NEW(.dst = "10.5.0.0", .len = 16, .source = "10.1.0.2");
    NEW(.dst = "10.5.0.0", .len = 16, .gateway = "10.9.0.1");
    NEW(.dst = "10.5.0.0", .len = 16, .gateway = "10.9.0.1", .oif = -1);
    NEW(.dst = "10.5.0.0", .len = 16, .gateway = "10.1.0.1");
    NEW(.dst = "10.5.0.0", .len = 16, .oif = 4711);
    NEW(.dst = "10.5.0.0", .len = 16, .oif = -1);
    NEW(.dst = "10.5.0.1", .len = 16, .oif = 4711, .source = "10.1.0.2");
    NEW(.dst = "10.5.0.0", .len = 16, .oif = 4711, .source = "10.1.0.2");
    /* Of too long an address the beginning counts. */
    NEW(.dst = "a05::", .len = 16, .family = AF_INET);
    NEW(.dst = "a05::", .len = 16, .family = AF_INET, .source = "a01:1::");
    DEL(.dst = "10.5.0.0", .len = 16);
    table(AF_INET);

    say("-- made");
    NEW(.dst = "10.5.0.0", .len = 16, .source = "10.1.0.1");
    NEW(.dst = "10.5.0.0", .len = 16);
    NEW(.dst = "10.5.0.0", .len = 16, .metric = 5);
    NEW(.dst = "10.6.0.0", .len = 16, .gateway = "10.1.0.7", .oif = -1);
    NEW(.dst = "10.7.0.0", .len = 16, .source = "127.0.0.1");
    table(AF_INET);
    DEL(.dst = "10.5.0.1", .len = 16);
    DEL(.dst = "10.7.0.0", .len = 17);
    DEL(.dst = "10.7.0.0", .len = 16);
    DEL(.dst = "10.7.0.0", .len = 16);

    say("-- replaced");
    REPLACE(.dst = "10.5.0.0", .len = 16, .gateway = "10.1.0.9");
    REPLACE(.dst = "10.5.0.0", .len = 16, .metric = 5, .gateway = "10.1.0.8");
    REPLACE(.dst = "10.8.0.0", .len = 16);
    ask(RTM_NEWROUTE, (struct route){.dst = "10.9.0.0", .len = 16, .flags = NLM_F_REPLACE});
    ask(RTM_NEWROUTE, (struct route){.dst = "10.9.0.0", .len = 16});
    ask(RTM_NEWROUTE, (struct route){.dst = "10.5.0.0", .len = 16, .flags = NLM_F_REPLACE | NLM_F_EXCL});
    table(AF_INET);

    say("-- of an address");
    NEW(.dst = "10.1.0.0", .len = 24);
    REPLACE(.dst = "10.1.0.0", .len = 24, .source = "127.0.0.1");
    table(AF_INET);
    DEL(.dst = "10.1.0.0", .len = 24);
    table(AF_INET);
    NEW(.dst = "10.1.0.0", .len = 24);
    address(RTM_DELADDR, 0, link_index, "10.1.0.1", 24);
    say("address %d", outcome(s));
    table(AF_INET);

    say("-- IPv6");
    NEW(.dst = "fd01::5", .len = 64);
    NEW(.dst = "fd01::", .len = 64);
    NEW(.dst = "fd02::", .len = 64, .source = "fd01::1");
    REPLACE(.dst = "fd01::7", .len = 64, .metric = 1024);
    table(AF_INET6);
    DEL(.dst = "fd01::9", .len = 64);
    DEL(.dst = "fd01::", .len = 64);
    ask(RTM_NEWROUTE, (struct route){.dst = "fd03::", .len = 64, .flags = NLM_F_REPLACE});
    ask(RTM_NEWROUTE, (struct route){.dst = "fd03::", .len = 64});
    table(AF_INET6);

    say("-- of two addresses");
    for (int i = 0; i < 2; i++) {
        address(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, link_index, i ? "10.1.0.1" : "10.1.0.2", 24);
        say("address %d", outcome(s));
    }
    table(AF_INET);
    DEL(.dst = "10.1.0.0", .len = 24);
    table(AF_INET);
    return 0;
}
