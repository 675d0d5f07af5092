/* TCP: a socket connected to itself, urgent data, data held back, ports of closed connections, what a name is after the end. */
#include "check.h"
#include <arpa/inet.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

static struct sockaddr_in where;
static char text[100];

static int set(int s, int level, int name, int value)
{
    return setsockopt(s, level, name, &value, sizeof value);
}

static int get(int s, int level, int name)
{
    int value = -1;
    socklen_t n = sizeof value;
    return getsockopt(s, level, name, &value, &n) ? -1 : value;
}

static int events(int s)
{
    struct pollfd p = {s, POLLIN | POLLPRI | POLLOUT | POLLRDHUP, 0};
    poll(&p, 1, 10);
    return p.revents;
}

static int listener(const char *ip, int reuse)
{
    int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    set(s, SOL_SOCKET, SO_REUSEADDR, reuse);
    where = (struct sockaddr_in){.sin_family = AF_INET};
    inet_pton(AF_INET, ip, &where.sin_addr);
    MUST(bind(s, (void *)&where, sizeof where));
    MUST(listen(s, 5));
    socklen_t n = sizeof where;
    MUST(getsockname(s, (void *)&where, &n));
    return s;
}

static int client(void)
{
    int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    MUST(connect(s, (void *)&where, sizeof where));
    return s;
}

static void named(int s, const char *what)
{
    struct sockaddr_in a = {0};
    socklen_t n = sizeof a;
    char ip[64];
    getsockname(s, (void *)&a, &n);
    inet_ntop(AF_INET, &a.sin_addr, ip, sizeof ip);
    say("%s: %s, with a port %d", what, ip, a.sin_port != 0);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    MUST(bind(s, (void *)&a, sizeof a));
    MUST(getsockname(s, (void *)&a, &n));
    SHOW(connect(s, (void *)&a, sizeof a));
    SHOW(send(s, "to myself", 9, 0));
    SHOW(recv(s, text, sizeof text, 0));
    SHOW(shutdown(s, SHUT_WR));
    SHOW(recv(s, text, sizeof text, 0));
    close(s);

    int l = listener("127.0.0.1", 1), c = client(), d = MUST(accept(l, NULL, NULL)), k;
    SHOW(send(c, "abc", 3, MSG_OOB));
    SHOW(send(c, "def", 3, MSG_OOB));
    SHOW(send(c, "gh", 2, 0));
    pause_ms(20);
    say("events %x", events(d));
    SHOW(ioctl(d, FIONREAD, &k));
    say("%d", k);
    SHOW(recv(d, text, sizeof text, 0));
    say("%.5s", text);
    SHOW(ioctl(d, SIOCATMARK, &k));
    say("%d", k);
    SHOW(recv(d, text, sizeof text, MSG_OOB | MSG_PEEK));
    SHOW(recv(d, text, sizeof text, 0));
    say("%.2s", text);
    SHOW(recv(d, text, sizeof text, MSG_OOB));
    SHOW(set(d, SOL_SOCKET, SO_OOBINLINE, 1));
    SHOW(send(c, "ijk", 3, MSG_OOB));
    pause_ms(20);
    SHOW(recv(d, text, sizeof text, MSG_OOB));
    SHOW(recv(d, text, sizeof text, 0));
    SHOW(recv(d, text, sizeof text, 0));
    say("%.1s events %x", text, events(d));

    SHOW(send(c, "held", 4, MSG_MORE));
    SHOW(recv(d, text, sizeof text, MSG_DONTWAIT));
    SHOW(send(c, " back", 5, 0));
    pause_ms(20);
    SHOW(recv(d, text, sizeof text, MSG_DONTWAIT));
    SHOW(set(c, IPPROTO_TCP, TCP_CORK, 1));
    SHOW(send(c, "corked", 6, 0));
    SHOW(recv(d, text, sizeof text, MSG_DONTWAIT));
    SHOW(set(c, IPPROTO_TCP, TCP_CORK, 0));
    pause_ms(20);
    SHOW(recv(d, text, sizeof text, MSG_DONTWAIT));
    /* Not for ever. */
    SHOW(send(c, "late", 4, MSG_MORE));
    SHOW(recv(d, text, sizeof text, 0));

    SHOW(set(d, SOL_SOCKET, SO_RCVLOWAT, 5));
    SHOW(send(c, "abc", 3, 0));
    pause_ms(20);
    say("events %x", events(d));
    SHOW(send(c, "def", 3, 0));
    pause_ms(20);
    say("events %x", events(d));
    SHOW(set(d, SOL_SOCKET, SO_RCVLOWAT, 1));
    SHOW(set(d, SOL_SOCKET, SO_PEEK_OFF, 0));
    SHOW(recv(d, text, 4, MSG_PEEK));
    SHOW(recv(d, text, 4, MSG_PEEK));
    SHOW(recv(d, text, 4, MSG_PEEK | MSG_DONTWAIT));
    SHOW(recv(d, text, 3, 0));
    say("%d", get(d, SOL_SOCKET, SO_PEEK_OFF));
    SHOW(read(d, text, 0));

    /* The other end is closed: a write is answered by a reset. */
    close(d);
    c = client();
    d = MUST(accept(l, NULL, NULL));
    close(d);
    pause_ms(20);
    SHOW(send(c, "x", 1, 0));
    pause_ms(20);
    say("events %x", events(c));
    say("error %d", get(c, SOL_SOCKET, SO_ERROR));
    SHOW(send(c, "x", 1, 0));
    close(c);

    c = client();
    named(c, "connected");
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    SHOW(connect(c, &none, sizeof none));
    named(c, "disconnected");
    say("events %x error %d", events(c), get(c, SOL_SOCKET, SO_ERROR));
    close(c);
    close(l);
    SHOW(get((c = MUST(socket(AF_INET6, SOCK_STREAM, 0))), IPPROTO_IPV6, IPV6_ADDRFORM));

    /* Who closes first keeps the port. */
    l = listener("127.33.0.1", 0);
    c = client();
    d = MUST(accept(l, NULL, NULL));
    close(d);
    pause_ms(10);
    close(c);
    close(l);
    pause_ms(10);
    l = MUST(socket(AF_INET, SOCK_STREAM, 0));
    SHOW(bind(l, (void *)&where, sizeof where));
    set(l, SOL_SOCKET, SO_REUSEADDR, 1);
    SHOW(bind(l, (void *)&where, sizeof where));
    close(l);
    l = listener("127.33.0.2", 1);
    c = client();
    d = MUST(accept(l, NULL, NULL));
    close(d);
    pause_ms(10);
    close(c);
    close(l);
    pause_ms(10);
    l = MUST(socket(AF_INET, SOCK_STREAM, 0));
    SHOW(bind(l, (void *)&where, sizeof where));
    set(l, SOL_SOCKET, SO_REUSEADDR, 1);
    SHOW(bind(l, (void *)&where, sizeof where));
    SHOW(listen(l, 1));
    return 0;
}
