/* TCP over loopback, IPv4 and IPv6: connection, data, shutdown, reset, options, errors. */
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

static socklen_t address(int family, int port, struct sockaddr_storage *s)
{
    memset(s, 0, sizeof *s);
    if (family == AF_INET) {
        struct sockaddr_in *a = (void *)s;
        a->sin_family = AF_INET;
        a->sin_port = htons(port);
        a->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return sizeof *a;
    }
    struct sockaddr_in6 *a = (void *)s;
    a->sin6_family = AF_INET6;
    a->sin6_port = htons(port);
    a->sin6_addr = in6addr_loopback;
    return sizeof *a;
}

static int port_of(int fd)
{
    struct sockaddr_storage s;
    socklen_t n = sizeof s;
    MUST(getsockname(fd, (void *)&s, &n));
    return ntohs(s.ss_family == AF_INET ? ((struct sockaddr_in *)&s)->sin_port : ((struct sockaddr_in6 *)&s)->sin6_port);
}

static void family(int f)
{
    struct sockaddr_storage s;
    char buffer[100000];
    int one = 1;
    say("family %d", f);
    int listener = MUST(socket(f, SOCK_STREAM, 0));
    SHOW(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
    socklen_t n = address(f, 0, &s);
    SHOW(bind(listener, (void *)&s, n));
    SHOW(listen(listener, 5));
    n = address(f, port_of(listener), &s);
    int taken = MUST(socket(f, SOCK_STREAM, 0));
    SHOW(bind(taken, (void *)&s, n));
    int client = MUST(socket(f, SOCK_STREAM, 0));
    SHOW(send(client, "x", 1, MSG_NOSIGNAL));
    SHOW(connect(client, (void *)&s, n));
    SHOW(connect(client, (void *)&s, n));
    socklen_t m = sizeof s;
    struct sockaddr_storage peer;
    int server = MUST(accept(listener, (void *)&peer, &m));
    SHOW(m);
    SHOW(setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
    m = sizeof one;
    SHOW(getsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, &m));
    SHOW(one != 0);
    SHOW(getsockopt(client, SOL_SOCKET, SO_TYPE, &one, &m));
    SHOW(one);
    SHOW(getsockopt(client, SOL_SOCKET, 9999, &one, &m));
    SHOW(write(client, "request", 7));
    SHOW(recv(server, buffer, 3, MSG_WAITALL));
    SHOW(recv(server, buffer, 100, 0));
    SHOW(recv(server, buffer, 100, MSG_DONTWAIT));
    fflush(stdout);
    if (fork() == 0) {
        memset(buffer, 'z', sizeof buffer);
        for (int i = 0; i < 20; i++)
            for (size_t done = 0; done < sizeof buffer;)
                done += MUST(write(server, buffer + done, sizeof buffer - done));
        shutdown(server, SHUT_WR);
        _exit(0);
    }
    long total = 0, wrong = 0;
    ssize_t got;
    while ((got = read(client, buffer, sizeof buffer)) > 0) {
        for (ssize_t i = 0; i < got; i++)
            wrong += buffer[i] != 'z';
        total += got;
    }
    say("received %ld wrong %ld", total, wrong);
    wait(NULL);
    SHOW(write(client, "still open this way", 19));
    SHOW(read(server, buffer, 100));
    SHOW(close(client));
    SHOW(read(server, buffer, 100));
    SHOW(close(server));
    int nonblocking = MUST(socket(f, SOCK_STREAM | SOCK_NONBLOCK, 0));
    int result = connect(nonblocking, (void *)&s, n);
    say("connecting: %d", result == 0 || errno == EINPROGRESS);
    struct pollfd p = {nonblocking, POLLOUT, 0};
    SHOW(poll(&p, 1, 5000));
    m = sizeof one;
    SHOW(getsockopt(nonblocking, SOL_SOCKET, SO_ERROR, &one, &m));
    SHOW(one);
    SHOW(close(listener));
    client = MUST(socket(f, SOCK_STREAM, 0));
    SHOW(connect(client, (void *)&s, n));
    int unconnected = MUST(socket(f, SOCK_STREAM, 0));
    SHOW(shutdown(unconnected, SHUT_RD));
    SHOW(getpeername(unconnected, (void *)&peer, &m));
    SHOW(accept(unconnected, NULL, NULL));
    SHOW(read(unconnected, buffer, 1));
    /* A close with unread data resets. */
    listener = MUST(socket(f, SOCK_STREAM, 0));
    n = address(f, 0, &s);
    MUST(bind(listener, (void *)&s, n));
    MUST(listen(listener, 1));
    n = address(f, port_of(listener), &s);
    client = MUST(socket(f, SOCK_STREAM, 0));
    MUST(connect(client, (void *)&s, n));
    server = MUST(accept(listener, NULL, NULL));
    MUST(write(client, "unread", 6));
    pause_ms(20);
    SHOW(close(server));
    pause_ms(20);
    SHOW(read(client, buffer, 1));
    SHOW(read(client, buffer, 1));
    SHOW(send(client, "x", 1, MSG_NOSIGNAL));
    struct linger now = {1, 0};
    client = MUST(socket(f, SOCK_STREAM, 0));
    MUST(connect(client, (void *)&s, n));
    server = MUST(accept(listener, NULL, NULL));
    SHOW(setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof now));
    SHOW(close(client));
    SHOW(read(server, buffer, 1));
}

int main(void)
{
    family(AF_INET);
    family(AF_INET6);
    struct in_addr a;
    SHOW(inet_aton("127.0.0.1", &a));
    return 0;
}
