/* UDP over loopback, sendmmsg/recvmmsg, connected datagram sockets, refused ports. */
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>

int main(void)
{
    char buffer[100] = {0};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, from;
    socklen_t n = sizeof a;
    int s = MUST(socket(AF_INET, SOCK_DGRAM, 0)), c = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    SHOW(bind(s, (void *)&a, sizeof a));
    MUST(getsockname(s, (void *)&a, &n));
    SHOW(sendto(c, "one", 3, 0, (void *)&a, sizeof a));
    SHOW(sendto(c, "", 0, 0, (void *)&a, sizeof a));
    n = sizeof from;
    SHOW(recvfrom(s, buffer, 100, 0, (void *)&from, &n));
    say("from loopback %d", from.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
    SHOW(recv(s, buffer, 100, 0));
    SHOW(recv(s, buffer, 100, MSG_DONTWAIT));
    SHOW(send(c, "x", 1, 0));
    SHOW(connect(c, (void *)&a, sizeof a));
    SHOW(send(c, "connected", 9, 0));
    SHOW(recv(s, buffer, 4, MSG_TRUNC));
    SHOW(sendto(s, "back", 4, 0, (void *)&from, sizeof from));
    SHOW(recv(c, buffer, 100, 0));
    struct iovec v[3] = {{"a", 1}, {"bb", 2}, {"ccc", 3}};
    struct mmsghdr m[3] = {0};
    for (int i = 0; i < 3; i++)
        m[i].msg_hdr = (struct msghdr){.msg_iov = &v[i], .msg_iovlen = 1};
    SHOW(sendmmsg(c, m, 3, 0));
    char room[3][10];
    struct iovec r[3] = {{room[0], 10}, {room[1], 10}, {room[2], 10}};
    for (int i = 0; i < 3; i++)
        m[i].msg_hdr = (struct msghdr){.msg_iov = &r[i], .msg_iovlen = 1};
    SHOW(recvmmsg(s, m, 3, 0, NULL));
    say("%d %d %d", m[0].msg_len, m[1].msg_len, m[2].msg_len);
    SHOW(close(s));
    SHOW(send(c, "to nobody", 9, 0));
    pause_ms(20);
    SHOW(recv(c, buffer, 100, MSG_DONTWAIT));
    struct timeval limit = {0, 50000};
    SHOW(setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    SHOW(recv(c, buffer, 100, 0));
    char big[70000] = {0};
    SHOW(send(c, big, sizeof big, 0));
    struct sockaddr unspecified = {.sa_family = AF_UNSPEC};
    SHOW(connect(c, &unspecified, sizeof unspecified));
    SHOW(send(c, "x", 1, 0));
    return 0;
}
