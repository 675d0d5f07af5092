/* AF_UNIX in all types: names, abstract names, passing descriptors and credentials, shutdown, errors. */
#include "check.h"
#include <sys/un.h>

static struct sockaddr_un name(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    strncpy(a.sun_path, path, sizeof a.sun_path - 1);
    return a;
}

static void send_fd(int socket, int fd)
{
    char control[CMSG_SPACE(sizeof fd)] = {0};
    struct iovec v = {"F", 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    *c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd)};
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    SHOW(sendmsg(socket, &m, 0));
}

static int receive_fd(int socket)
{
    char control[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))] = {0}, byte;
    struct iovec v = {&byte, 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    SHOW(recvmsg(socket, &m, 0));
    int fd = -1;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
        if (c->cmsg_type == SCM_RIGHTS) {
            memcpy(&fd, CMSG_DATA(c), sizeof fd);
        } else if (c->cmsg_type == SCM_CREDENTIALS) {
            struct ucred u;
            memcpy(&u, CMSG_DATA(c), sizeof u);
            say("credentials %d %d", u.pid == getpid(), u.uid == getuid());
        }
    return fd;
}

int main(void)
{
    int s[2];
    char buffer[200] = {0};
    for (int type = SOCK_STREAM; type <= SOCK_SEQPACKET; type += type == SOCK_STREAM ? 1 : 3) {
        say("type %d", type);
        MUST(socketpair(AF_UNIX, type, 0, s));
        SHOW(write(s[0], "one", 3));
        SHOW(write(s[0], "two", 3));
        SHOW(read(s[1], buffer, 2));
        SHOW(recv(s[1], buffer, 100, MSG_DONTWAIT));
        SHOW(recv(s[1], buffer, 100, MSG_DONTWAIT));
        SHOW(send(s[1], "peek", 4, 0));
        SHOW(recv(s[0], buffer, 100, MSG_PEEK));
        SHOW(recv(s[0], buffer, 2, MSG_TRUNC));
        SHOW(recv(s[0], buffer, 100, MSG_DONTWAIT));
        SHOW(shutdown(s[0], SHUT_WR));
        SHOW(send(s[0], "x", 1, MSG_NOSIGNAL));
        struct pollfd p = {s[1], POLLIN | POLLRDHUP, 0};
        SHOW(poll(&p, 1, 0));
        say("readable %d hung up for reading %d", !!(p.revents & POLLIN), !!(p.revents & POLLRDHUP));
        SHOW(close(s[0]));
        SHOW(send(s[1], "x", 1, MSG_NOSIGNAL));
        close(s[1]);
    }
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    put_file("passed", "content of a passed file");
    int fd = MUST(open("passed", O_RDONLY));
    send_fd(s[0], fd);
    close(fd);
    fd = receive_fd(s[1]);
    SHOW(read(fd, buffer, 100));
    say("%.24s", buffer);
    int one = 1;
    SHOW(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof one));
    send_fd(s[0], s[0]);
    fd = receive_fd(s[1]);
    SHOW(fd >= 0);
    struct ucred u;
    socklen_t length = sizeof u;
    SHOW(getsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &u, &length));
    say("peer %d", u.pid == getpid());

    struct sockaddr_un a = name("socket"), b;
    int listener = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    int client = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    SHOW(connect(client, (void *)&a, sizeof a));
    SHOW(bind(listener, (void *)&a, sizeof a));
    SHOW(bind(listener, (void *)&a, sizeof a));
    SHOW(bind(client, (void *)&a, sizeof a));
    SHOW(connect(client, (void *)&a, sizeof a));
    SHOW(accept(listener, NULL, NULL));
    SHOW(listen(listener, 1));
    SHOW(connect(client, (void *)&a, sizeof a));
    SHOW(connect(client, (void *)&a, sizeof a));
    length = sizeof b;
    int server = MUST(accept4(listener, (void *)&b, &length, SOCK_CLOEXEC));
    SHOW(length);
    SHOW(write(client, "hello", 5));
    SHOW(read(server, buffer, 100));
    length = sizeof b;
    SHOW(getpeername(client, (void *)&b, &length));
    say("%s", b.sun_path);
    length = sizeof b;
    SHOW(getsockname(client, (void *)&b, &length));
    SHOW(length);
    struct stat st;
    SHOW(stat("socket", &st));
    say("socket %d", S_ISSOCK(st.st_mode));
    SHOW(open("socket", O_RDWR));
    close(listener);
    client = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    SHOW(connect(client, (void *)&a, sizeof a));
    SHOW(connect(client, (void *)&a, 1));
    int datagram = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
    SHOW(connect(datagram, (void *)&a, sizeof a));
    /* Abstract names are of the network namespace: natively several runs of this test share it. */
    struct sockaddr_un abstract = {.sun_family = AF_UNIX};
    socklen_t abstract_length = offsetof(struct sockaddr_un, sun_path) + 1;
    abstract_length += sprintf(abstract.sun_path + 1, "cofferdam-test-%010d", (int)getpid());
    SHOW(bind(datagram, (void *)&abstract, abstract_length));
    int sender = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
    SHOW(sendto(sender, "datagram", 8, 0, (void *)&abstract, abstract_length));
    length = sizeof b;
    SHOW(recvfrom(datagram, buffer, 100, 0, (void *)&b, &length));
    SHOW(length);
    struct sockaddr_un automatic = {.sun_family = AF_UNIX};
    SHOW(bind(sender, (void *)&automatic, sizeof(sa_family_t)));
    length = sizeof b;
    SHOW(getsockname(sender, (void *)&b, &length));
    say("autobind %d", length == sizeof(sa_family_t) + 6 && b.sun_path[0] == 0);
    SHOW(send(sender, "x", 1, 0));
    SHOW(socket(AF_UNIX, 99, 0));
    SHOW(socket(AF_UNIX, SOCK_STREAM, 5));
    SHOW(socket(99, SOCK_STREAM, 0));
    return 0;
}
