/* Who may change a network namespace, and how much is asked and told at a time. */
//@ root=only
//@ options=--user 0
#include "check.h"
#include "namespace.h"
#include "rtnetlink.h"
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sys/prctl.h>

static int mtu_of_loopback(int s)
{
    static int next = 1500;
    struct ifinfomsg m = {.ifi_index = 1};
    int mtu = next++;
    begin(RTM_NEWLINK, 0, &m, sizeof m);
    attribute(IFLA_MTU, &mtu, 4);
    return outcome(s);
}

static void rights(void)
{
    int strong = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)), status, p[2];
    say("root: %d", mtu_of_loopback(strong));
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
    pid_t pid = MUST(fork());
    if (pid == 0) {
        MUST(setresuid(1000, 1000, 1000));
        say("root's, used by another: %s", strerrorname_np(mtu_of_loopback(strong)));
        int weak = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
        say("another's: %s", strerrorname_np(mtu_of_loopback(weak)));
        char control[CMSG_SPACE(4)] __attribute__((aligned(8))) = {0}, byte = 'x';
        struct iovec v = {&byte, 1};
        struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        *CMSG_FIRSTHDR(&m) = (struct cmsghdr){CMSG_LEN(4), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &weak, 4);
        MUST(sendmsg(p[1], &m, 0));
        _exit(0);
    }
    MUST(waitpid(pid, &status, 0));
    char control[CMSG_SPACE(4)] __attribute__((aligned(8))), byte;
    struct iovec v = {&byte, 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    MUST(recvmsg(p[0], &m, 0));
    int weak;
    memcpy(&weak, CMSG_DATA(CMSG_FIRSTHDR(&m)), 4);
    say("another's, used by root: %s", strerrorname_np(mtu_of_loopback(weak)));
    close(weak);
    close(strong);
}

static void master(void)
{
    int s = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
    int index = dead_link(s, "out0");
    struct ifinfomsg m = {.ifi_index = index};
    for (int i = 0; i < 3; i++) {
        int to = (int[]){0, 4711, 1}[i];
        begin(RTM_NEWLINK, 0, &m, sizeof m);
        attribute(IFLA_MASTER, &to, 4);
        int e = outcome(s);
        say("master %d: %s", to, e ? strerrorname_np(e) : "done");
    }
    close(s);
}

/* Messages until there are no more: what they were. */
static void told(int s, const char *what)
{
    static char big[65536];
    int links = 0, done = 0, acks = 0, error = 0, lost = 0;
    for (;;) {
        long n = recv(s, big, sizeof big, MSG_DONTWAIT);
        if (n < 0 && errno == ENOBUFS) {
            lost++;
            continue;
        }
        if (n < 0)
            break;
        for (struct nlmsghdr *h = (void *)big; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
            int e = h->nlmsg_type == NLMSG_ERROR ? ((struct nlmsgerr *)NLMSG_DATA(h))->error : 0;
            links += h->nlmsg_type >= NLMSG_MIN_TYPE;
            done += h->nlmsg_type == NLMSG_DONE;
            acks += h->nlmsg_type == NLMSG_ERROR && e == 0;
            if (e)
                error = -e;
        }
    }
    say("%s: %d, ended %d, acknowledged %d, %s, lost %d", what, links, done, acks, error ? strerrorname_np(error) : "no error", lost > 0);
}

struct one {
    struct nlmsghdr h;
    struct ifinfomsg m;
};

static void sizes(void)
{
    int s = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)), n = 4096;
    struct one q[4];
    for (int i = 0; i < 4; i++)
        q[i] = (struct one){{sizeof q[i], RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP | NLM_F_ACK, i, 0}, {0}};
    MUST(send(s, q, sizeof q[0], 0));
    told(s, "a dump");
    MUST(send(s, q, 2 * sizeof q[0], 0));
    told(s, "two at once");
    MUST(send(s, q, sizeof q, 0));
    told(s, "four at once");
    MUST(send(s, q, sizeof q[0], 0));
    MUST(send(s, q, sizeof q[0], 0));
    told(s, "two, one after the other");
    for (int i = 0; i < 4; i++) {
        q[i].h.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
        q[i].m.ifi_index = i == 2 ? 4711 : 1;
    }
    MUST(send(s, q, sizeof q, 0));
    told(s, "four links");
    MUST(setsockopt(s, SOL_SOCKET, SO_SNDBUF, &n, sizeof n));
    static char large[16384];
    struct nlmsghdr *h = (void *)large;
    *h = (struct nlmsghdr){sizeof large, RTM_GETLINK, NLM_F_REQUEST, 0, 0};
    SHOW(send(s, large, 8192 - 32, 0));
    SHOW(send(s, large, 8192 - 31, 0));
    close(s);
}

/* More than the receive buffer holds. */
static void overrun(int quiet)
{
    int s = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)), listener = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
    struct sockaddr_nl a = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
    int small = 2048;
    MUST(bind(listener, (void *)&a, sizeof a));
    MUST(setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof small));
    MUST(setsockopt(listener, SOL_NETLINK, NETLINK_NO_ENOBUFS, &quiet, sizeof quiet));
    for (int i = 0; i < 40; i++)
        MUST(mtu_of_loopback(s));
    int n = 0, lost = 0;
    for (;;) {
        long r = recv(listener, answer, sizeof answer, MSG_DONTWAIT);
        if (r < 0 && errno == ENOBUFS)
            lost++;
        else if (r < 0)
            break;
        else
            n++;
    }
    say("quiet %d: some %d, not all %d, lost %d", quiet, n > 0, n < 40, lost);
    close(s);
    close(listener);
}

int main(void)
{
    own_network();
    rights();
    master();
    sizes();
    overrun(0);
    overrun(1);
    return 0;
}
