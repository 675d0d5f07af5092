/* Requests to rtnetlink, and a link behind which nobody is. */
#pragma once
#include "check.h"
#include <arpa/inet.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>

static char request[1000], answer[20000];
static int sequence;

static inline void begin(int type, int flags, const void *header, int size)
{
    struct nlmsghdr *h = (void *)request;
    memset(request, 0, sizeof request);
    h->nlmsg_type = type;
    h->nlmsg_flags = NLM_F_REQUEST | flags;
    h->nlmsg_seq = ++sequence;
    h->nlmsg_len = NLMSG_LENGTH(size);
    memcpy(NLMSG_DATA(h), header, size);
}

static inline void attribute(int type, const void *data, int size)
{
    struct nlmsghdr *h = (void *)request;
    struct rtattr *a = (void *)(request + NLMSG_ALIGN(h->nlmsg_len));
    a->rta_type = type;
    a->rta_len = RTA_LENGTH(size);
    memcpy(RTA_DATA(a), data, size);
    h->nlmsg_len = NLMSG_ALIGN(h->nlmsg_len) + RTA_ALIGN(a->rta_len);
}

/* Sends the request; the error of its acknowledgement. */
static inline void acknowledged(int s, const char *what)
{
    struct nlmsghdr *h = (void *)request;
    h->nlmsg_flags |= NLM_F_ACK;
    MUST(send(s, request, h->nlmsg_len, 0));
    long n = MUST(recv(s, answer, sizeof answer, 0));
    h = (void *)answer;
    struct nlmsgerr *e = NLMSG_DATA(h);
    say("%s: type %d, %s, whole request %d", what, h->nlmsg_type, e->error ? strerrorname_np(-e->error) : "done",
        n > (long)NLMSG_LENGTH(sizeof *e));
}

/* Address `text` of a link. */
static inline void address(int type, int flags, int index, const char *text, int prefix)
{
    struct ifaddrmsg m = {.ifa_family = AF_INET, .ifa_prefixlen = prefix, .ifa_index = index};
    struct in_addr ip;
    inet_pton(AF_INET, text, &ip);
    begin(type, flags, &m, sizeof m);
    attribute(IFA_LOCAL, &ip, 4);
    attribute(IFA_ADDRESS, &ip, 4);
}

/* The error of the request's acknowledgement, and of nothing before it. */
static inline int outcome(int s)
{
    struct nlmsghdr *h = (void *)request;
    h->nlmsg_flags |= NLM_F_ACK;
    MUST(send(s, request, h->nlmsg_len, 0));
    MUST(recv(s, answer, sizeof answer, 0));
    return -((struct nlmsgerr *)NLMSG_DATA((struct nlmsghdr *)answer))->error;
}

static inline int try_link(int s, const char *name, const char *kind)
{
    struct ifinfomsg m = {0};
    begin(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &m, sizeof m);
    attribute(IFLA_IFNAME, name, strlen(name) + 1);
    char info[64];
    struct rtattr *a = (void *)info;
    a->rta_type = IFLA_INFO_KIND;
    a->rta_len = RTA_LENGTH(strlen(kind));
    memcpy(RTA_DATA(a), kind, strlen(kind));
    attribute(IFLA_LINKINFO, info, RTA_ALIGN(a->rta_len));
    return outcome(s);
}

/* A link that takes everything and gives nothing: its index. Kernels without dummies have others that do the same. */
static inline int dead_link(int s, const char *name)
{
    if (try_link(s, name, "dummy") != 0 && try_link(s, name, "ifb") != 0) {
        say("there is no such link");
        _exit(99);
    }
    return MUST((int)if_nametoindex(name));
}

static inline void set_up(int s, int index, int up)
{
    struct ifinfomsg m = {.ifi_index = index, .ifi_flags = up ? IFF_UP : 0, .ifi_change = IFF_UP};
    begin(RTM_NEWLINK, 0, &m, sizeof m);
    int e = outcome(s);
    if (e)
        say("up %d: %s", up, strerrorname_np(e));
}
