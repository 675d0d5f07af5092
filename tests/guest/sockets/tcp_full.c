/* Requests that wait for room at a listener are its own no longer once their socket has gone elsewhere. */
#include "../check.h"
#include <netinet/in.h>

static int listener(struct sockaddr_in *at)
{
    int fd = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    socklen_t len = sizeof *at;
    *at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    MUST(bind(fd, (struct sockaddr *)at, len));
    MUST(getsockname(fd, (struct sockaddr *)at, &len));
    MUST(listen(fd, 0));
    return fd;
}

static int ask(int fd, const struct sockaddr_in *at)
{
    return connect(fd, (const struct sockaddr *)at, sizeof *at);
}

static int client(void)
{
    return MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
}

static void leave(int fd)
{
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    MUST(connect(fd, &none, sizeof none));
}

static int connects(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    return poll(&p, 1, ms);
}

int main(void)
{
    struct sockaddr_in first, second, empty;
    int one = listener(&first), other = listener(&second), third = listener(&empty);
    /* Both are full. */
    for (int i = 0; i < 3; i++) {
        ask(client(), &first);
        ask(client(), &second);
    }
    int there = client(), here = client();
    SHOW(ask(there, &first));
    SHOW(ask(here, &first));
    SHOW(connects(there, 50));
    /* One goes to another full listener, one to one with room. */
    leave(there);
    leave(here);
    SHOW(ask(there, &second));
    SHOW(connects(there, 50));
    SHOW(ask(here, &empty));
    SHOW(connects(here, 1000));
    int foreign = 0;
    for (int i = 0; i < 20; i++) {
        struct sockaddr_in name;
        socklen_t len = sizeof name;
        int fd = accept(one, NULL, NULL);
        if (fd >= 0) {
            MUST(getsockname(fd, (struct sockaddr *)&name, &len));
            foreign += name.sin_port != first.sin_port;
        }
        usleep(5000);
    }
    SHOW(foreign);
    /* What ends at the first listener is not what was asked of others. */
    int last = client();
    for (int i = 0; i < 3; i++)
        ask(client(), &first);
    SHOW(ask(last, &first));
    leave(last);
    int accepted = MUST(accept(third, NULL, NULL));
    SHOW(ask(last, &empty));
    SHOW(connects(last, 1000));
    MUST(close(one));
    SHOW(write(last, "x", 1));
    SHOW(write(here, "x", 1));
    char byte;
    SHOW(read(accepted, &byte, 1));
    close(other);
    return 0;
}
