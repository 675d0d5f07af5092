/* UDP: the queue of errors, corked and segmented datagrams, original destinations, sources of groups. */
#include "check.h"
#include <arpa/inet.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <netinet/udp.h>

static struct sockaddr_in v4(const char *ip, int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, ip, &a.sin_addr);
    return a;
}

static void receive(int s, int flags, const char *what)
{
    char data[200], control[400], text[64] = "";
    struct sockaddr_in from = {0};
    struct iovec v = {data, sizeof data};
    struct msghdr m = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &v, .msg_iovlen = 1,
                       .msg_control = control, .msg_controllen = sizeof control};
    long r = recvmsg(s, &m, flags | MSG_DONTWAIT);
    if (r < 0) {
        say("%s: %s", what, strerrorname_np(errno));
        return;
    }
    say("%s: %ld bytes %.*s flags %x", what, r, (int)r, data, m.msg_flags);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        if (c->cmsg_type == IP_RECVERR) {
            struct sock_extended_err *e = (void *)CMSG_DATA(c);
            struct sockaddr_in *o = (void *)SO_EE_OFFENDER(e);
            inet_ntop(AF_INET, &o->sin_addr, text, sizeof text);
            say(" error %d origin %d type %d code %d from %s, sent to port %d", e->ee_errno, e->ee_origin, e->ee_type,
                e->ee_code, text, ntohs(from.sin_port));
        } else if (c->cmsg_type == IP_ORIGDSTADDR) {
            struct sockaddr_in *o = (void *)CMSG_DATA(c);
            inet_ntop(AF_INET, &o->sin_addr, text, sizeof text);
            say(" destination %s port %d", text, ntohs(o->sin_port));
        } else {
            say(" level %d type %d length %zu", c->cmsg_level, c->cmsg_type, c->cmsg_len);
        }
    }
}

static int set(int s, int level, int name, int value)
{
    return setsockopt(s, level, name, &value, sizeof value);
}

static int events(int s)
{
    struct pollfd p = {s, POLLIN | POLLPRI | POLLOUT, 0};
    poll(&p, 1, 20);
    return p.revents;
}

int main(void)
{
    /* A port that was free a moment ago. */
    int s = MUST(socket(AF_INET, SOCK_DGRAM, 0)), r = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    struct sockaddr_in nobody = v4("127.45.45.45", 9), to = v4("127.45.45.46", 0);
    socklen_t n = sizeof to;
    SHOW(set(s, IPPROTO_IP, IP_RECVERR, 1));
    SHOW(sendto(s, "xyz", 3, 0, (void *)&nobody, sizeof nobody));
    say("events %x", events(s));
    int e = 0;
    socklen_t len = sizeof e;
    SHOW(getsockopt(s, SOL_SOCKET, SO_ERROR, &e, &len));
    say("%d", e);
    receive(s, MSG_ERRQUEUE, "error");
    receive(s, MSG_ERRQUEUE, "no more");
    say("events %x", events(s));
    SHOW(sendto(s, "abc", 3, 0, (void *)&nobody, sizeof nobody));
    pause_ms(20);
    SHOW(sendto(s, "abc", 3, 0, (void *)&nobody, sizeof nobody));
    SHOW(set(s, IPPROTO_IP, IP_RECVERR, 0));
    receive(s, MSG_ERRQUEUE, "gone");

    MUST(bind(r, (void *)&to, sizeof to));
    MUST(getsockname(r, (void *)&to, &n));
    s = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    SHOW(sendto(s, "one ", 4, MSG_MORE, (void *)&to, sizeof to));
    receive(r, 0, "held");
    SHOW(sendto(s, "two", 3, 0, (void *)&nobody, sizeof nobody));
    pause_ms(20);
    receive(r, 0, "both");
    SHOW(set(s, IPPROTO_UDP, UDP_CORK, 1));
    SHOW(sendto(s, "a", 1, 0, (void *)&to, sizeof to));
    SHOW(sendto(s, "b", 1, 0, (void *)&to, sizeof to));
    receive(r, 0, "corked");
    SHOW(set(s, IPPROTO_UDP, UDP_CORK, 0));
    pause_ms(20);
    receive(r, 0, "uncorked");
    SHOW(set(s, IPPROTO_UDP, UDP_SEGMENT, 2));
    SHOW(sendto(s, "12345", 5, 0, (void *)&to, sizeof to));
    pause_ms(20);
    receive(r, 0, "first");
    receive(r, 0, "second");
    receive(r, 0, "third");
    SHOW(set(s, IPPROTO_UDP, UDP_SEGMENT, 70000));
    SHOW(set(s, IPPROTO_UDP, UDP_SEGMENT, 0));
    SHOW(set(r, IPPROTO_IP, IP_RECVORIGDSTADDR, 1));
    struct sockaddr_in any = v4("127.45.45.46", ntohs(to.sin_port));
    SHOW(sendto(s, "where", 5, 0, (void *)&any, sizeof any));
    pause_ms(20);
    char text[3];
    /* Nothing was bound when this program began, so the port differs; only the address is shown. */
    struct iovec v = {text, 3};
    char control[100];
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    SHOW(recvmsg(r, &m, 0));
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    struct sockaddr_in *o = (void *)CMSG_DATA(c);
    say("type %d address %x same port %d", c->cmsg_type, ntohl(o->sin_addr.s_addr), o->sin_port == to.sin_port);

    /* SO_PEEK_OFF. */
    SHOW(set(r, SOL_SOCKET, SO_PEEK_OFF, 0));
    SHOW(sendto(s, "abcdef", 6, 0, (void *)&to, sizeof to));
    SHOW(sendto(s, "ghi", 3, 0, (void *)&to, sizeof to));
    pause_ms(20);
    for (int i = 0; i < 4; i++) {
        char part[5] = "";
        SHOW(recv(r, part, 4, MSG_PEEK | MSG_DONTWAIT));
        say("%s", part);
    }
    SHOW(recv(r, text, 3, 0));
    len = sizeof e;
    SHOW(getsockopt(r, SOL_SOCKET, SO_PEEK_OFF, &e, &len));
    say("%d", e);
    return 0;
}
