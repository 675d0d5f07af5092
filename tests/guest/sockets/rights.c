/* Files and credentials in messages: how many, where they stop, what is lost, and who may claim what. */
#include "check.h"
#include <sys/un.h>

static int open_fds(void)
{
    int n = 0;
    for (int fd = 0; fd < 200; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static int send_fds(int s, const char *text, const int *fds, int count)
{
    char control[CMSG_SPACE(sizeof(int) * 300)] = {0};
    struct iovec v = {(void *)text, strlen(text)};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(sizeof(int) * count)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(c), fds, sizeof(int) * count);
    return sendmsg(s, &m, MSG_NOSIGNAL);
}

static void receive(const char *what, int s, size_t data, size_t room, int flags, int keep)
{
    char control[1000], buffer[100];
    struct iovec v = {buffer, data};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = room};
    ssize_t n = recvmsg(s, &m, flags | MSG_DONTWAIT);
    printf("%s: %zd%s flags %#x controllen %zu", what, n, n < 0 ? strerrorname_np(errno) : "", n < 0 ? 0 : m.msg_flags, m.msg_controllen);
    if (n >= 0)
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
            printf(" [level %d type %d len %zu", c->cmsg_level, c->cmsg_type, c->cmsg_len);
            if (c->cmsg_type == SCM_RIGHTS)
                for (size_t i = 0; i + sizeof(int) <= c->cmsg_len - CMSG_LEN(0); i += sizeof(int)) {
                    int fd;
                    memcpy(&fd, CMSG_DATA(c) + i, sizeof fd);
                    printf(" cloexec %d", fcntl(fd, F_GETFD));
                    if (!keep)
                        close(fd);
                }
            if (c->cmsg_type == SCM_CREDENTIALS) {
                struct ucred u;
                memcpy(&u, CMSG_DATA(c), sizeof u);
                printf(" own pid %d own uid %d", u.pid == getpid(), u.uid == getuid());
            }
            printf("]");
        }
    say("%s", "");
}

int main(void)
{
    int before, s[2], p[2], fds[300], one = 1;
    before = open_fds();
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    MUST(pipe(p));
    for (int i = 0; i < 300; i++)
        fds[i] = p[0];
    SHOW(send_fds(s[0], "a", fds, 1));
    receive("one", s[1], 100, 1000, 0, 0);
    SHOW(send_fds(s[0], "a", fds, 1));
    receive("close on exec", s[1], 100, 1000, MSG_CMSG_CLOEXEC, 0);
    SHOW(send_fds(s[0], "a", fds, 3));
    receive("room for one and a half", s[1], 100, CMSG_LEN(6), 0, 0);
    SHOW(send_fds(s[0], "a", fds, 3));
    receive("room for a header", s[1], 100, CMSG_LEN(0), 0, 0);
    SHOW(send_fds(s[0], "a", fds, 3));
    receive("no room", s[1], 100, 0, 0, 0);
    SHOW(send_fds(s[0], "a", fds, 3));
    receive("room for half a header", s[1], 100, 8, 0, 0);
    SHOW(send_fds(s[0], "", fds, 1));
    receive("an empty message is not sent", s[1], 100, 1000, 0, 0);
    SHOW(send_fds(s[0], "a", fds, 253));
    receive("many", s[1], 100, 40, 0, 0);
    SHOW(send_fds(s[0], "a", fds, 254));
    fds[1] = 999;
    SHOW(send_fds(s[0], "a", fds, 2));
    fds[1] = p[0];
    say("descriptors %d", open_fds() - before);

    /* Where reads stop. */
    MUST(write(s[0], "12", 2));
    SHOW(send_fds(s[0], "34", fds, 1));
    MUST(write(s[0], "56", 2));
    SHOW(send_fds(s[0], "78", fds, 1));
    receive("up to the files", s[1], 100, 1000, 0, 0);
    receive("part", s[1], 1, 1000, 0, 0);
    receive("peek", s[1], 100, 1000, MSG_PEEK, 0);
    receive("up to the next files", s[1], 100, 1000, 0, 0);
    SHOW(send_fds(s[0], "ab", fds, 1));
    receive("files come with the first byte", s[1], 1, 1000, 0, 0);
    receive("and not with the second", s[1], 1, 1000, 0, 0);
    SHOW(send_fds(s[0], "ab", fds, 1));
    char c[10];
    SHOW(read(s[1], c, 10));
    receive("read lost them", s[1], 1, 1000, 0, 0);
    say("descriptors %d", open_fds() - before);

    /* Credentials. */
    SHOW(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof one));
    SHOW(write(s[0], "x", 1));
    receive("credentials", s[1], 100, 1000, 0, 0);
    SHOW(send_fds(s[0], "x", fds, 2));
    receive("both", s[1], 100, 1000, 0, 0);
    SHOW(send_fds(s[0], "x", fds, 2));
    receive("room for credentials only", s[1], 100, CMSG_SPACE(sizeof(struct ucred)), 0, 0);
    char control[CMSG_SPACE(sizeof(struct ucred))] = {0};
    struct iovec v = {"y", 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    struct ucred u = {getpid(), getuid(), getgid()};
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_CREDENTIALS;
    h->cmsg_len = CMSG_LEN(sizeof u);
    memcpy(CMSG_DATA(h), &u, sizeof u);
    SHOW(sendmsg(s[0], &m, 0));
    h->cmsg_len = CMSG_LEN(sizeof u) - 1;
    SHOW(sendmsg(s[0], &m, 0));
    h->cmsg_len = 3;
    SHOW(sendmsg(s[0], &m, 0));
    h->cmsg_len = 1000;
    SHOW(sendmsg(s[0], &m, 0));
    h->cmsg_len = CMSG_LEN(sizeof u);
    h->cmsg_type = 77;
    SHOW(sendmsg(s[0], &m, 0));
    m.msg_controllen = 1 << 20;
    SHOW(sendmsg(s[0], &m, 0));
    m.msg_controllen = sizeof control;
    m.msg_control = (void *)8;
    SHOW(sendmsg(s[0], &m, 0));
    m.msg_control = NULL;
    m.msg_iovlen = 1025;
    SHOW(sendmsg(s[0], &m, 0));
    SHOW(sendmsg(s[0], (void *)8, 0));
    receive("what was sent", s[1], 100, 1000, 0, 0);

    /* A socket sent over itself, and closed: nothing is left of it. */
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
    SHOW(send_fds(p[0], "x", p, 2));
    SHOW(close(p[0]));
    SHOW(close(p[1]));
    /* Dead ends. */
    SHOW(shutdown(s[1], SHUT_RD));
    SHOW(send_fds(s[0], "x", fds, 1));
    SHOW(close(s[1]));
    SHOW(send_fds(s[0], "x", fds, 1));
    return 0;
}
