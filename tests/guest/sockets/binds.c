/* Addresses that a socket may have: those of this host, and those of everybody. */
//@ root=only
//@ options=--user 0
#include "check.h"
#include "namespace.h"
#include "rtnetlink.h"

static void one(int type, int protocol, const char *text, int freely)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    struct sockaddr_in four = {.sin_family = AF_INET};
    int v6 = strchr(text, ':') != NULL, on = 1;
    int s = MUST(socket(v6 ? AF_INET6 : AF_INET, type, protocol));
    if (freely)
        MUST(setsockopt(s, IPPROTO_IP, IP_FREEBIND, &on, sizeof on));
    if (v6)
        inet_pton(AF_INET6, text, &six.sin6_addr);
    else
        inet_pton(AF_INET, text, &four.sin_addr);
    int r = v6 ? bind(s, (void *)&six, sizeof six) : bind(s, (void *)&four, sizeof four);
    say("type %d at %s%s: %s", type, text, freely ? ", freely" : "", r < 0 ? strerrorname_np(errno) : "works");
    close(s);
}

int main(void)
{
    own_network();
    int s = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)), index = dead_link(s, "out0");
    address(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, index, "10.1.0.1", 24);
    say("address %d", outcome(s));
    set_up(s, index, 1);
    static const char *const all[] = {"0.0.0.0",     "127.0.0.1", "127.9.8.7",       "127.255.255.255", "10.1.0.1", "10.1.0.9",
                                      "10.1.0.255",  "10.2.0.1",  "255.255.255.255", "224.0.0.1",       "239.1.2.3", "::1",
                                      "::ffff:10.1.0.1", "::ffff:10.1.0.9", "fd00::1", "::"};
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        one(SOCK_STREAM, 0, all[i], 0);
        one(SOCK_DGRAM, 0, all[i], 0);
        one(SOCK_RAW, IPPROTO_UDP, all[i], 0);
    }
    one(SOCK_STREAM, 0, "10.1.0.9", 1);
    one(SOCK_DGRAM, 0, "10.2.0.1", 1);
    /* A route to everywhere makes nothing this host's. */
    struct rtmsg m = {.rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_BOOT, .rtm_type = RTN_UNICAST,
                      .rtm_scope = RT_SCOPE_LINK};
    begin(RTM_NEWROUTE, NLM_F_CREATE, &m, sizeof m);
    attribute(RTA_OIF, &index, 4);
    say("route %d", outcome(s));
    one(SOCK_DGRAM, 0, "10.2.0.1", 0);
    return 0;
}
