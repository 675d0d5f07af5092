/* /proc/net of a network namespace of its own: its sockets and nobody else's, and sock_diag's view of them. */
//@ root=only
//@ options=--user 0
#include "check.h"
#include "namespace.h"
#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <sys/un.h>

/* The lines of a table but for the first: addresses, state and queues, which do not differ from run to run. */
static void table(const char *name)
{
    char path[100], line[500], local[100], remote[100], state[10], queues[30];
    snprintf(path, sizeof path, "/proc/net/%s", name);
    FILE *f = fopen(path, "r");
    if (!f) {
        say("%s: %s", name, strerrorname_np(errno));
        return;
    }
    say("%s", name);
    for (int i = 0; fgets(line, sizeof line, f); i++)
        if (i && sscanf(line, "%*s %99s %99s %9s %29s", local, remote, state, queues) == 4)
            say(" %s %s %s %s", local, remote, state, queues);
    fclose(f);
}

/* Is there a line with this inode and this end? */
static int has(const char *name, int s, const char *end)
{
    char path[100], line[500], inode[40];
    struct stat st;
    MUST(fstat(s, &st));
    snprintf(inode, sizeof inode, " %lu ", (unsigned long)st.st_ino);
    snprintf(path, sizeof path, "/proc/net/%s", name);
    FILE *f = fopen(path, "r");
    int found = 0;
    while (f && fgets(line, sizeof line, f))
        found += strstr(line, inode) && strstr(line, end);
    if (f)
        fclose(f);
    return found;
}

int main(void)
{
    own_network();
    table("tcp");
    table("udp");
    int l = MUST(socket(AF_INET, SOCK_STREAM, 0)), six = MUST(socket(AF_INET6, SOCK_STREAM, 0));
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(8080), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 b = {.sin6_family = AF_INET6, .sin6_port = htons(8081)};
    MUST(bind(l, (void *)&a, sizeof a));
    table("tcp");
    MUST(listen(l, 4));
    MUST(bind(six, (void *)&b, sizeof b));
    MUST(listen(six, 4));
    table("tcp");
    table("tcp6");
    int c = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_port = htons(9090), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    MUST(bind(c, (void *)&from, sizeof from));
    MUST(connect(c, (void *)&a, sizeof a));
    int d = MUST(accept(l, NULL, NULL));
    MUST(send(c, "hello", 5, 0));
    pause_ms(50);
    say("connected %d %d", has("tcp", c, ":2382 0100007F:1F90 01"), has("tcp", d, ":1F90 0100007F:2382 01 00000000:00000005"));
    int u = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    table("udp");
    MUST(bind(u, (void *)&a, sizeof a));
    table("udp");
    MUST(connect(u, (void *)&from, sizeof from));
    table("udp");
    int r = MUST(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
    table("raw");
    int x = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    struct sockaddr_un n = {AF_UNIX, "\0hidden"};
    MUST(bind(x, (void *)&n, 2 + 7));
    MUST(listen(x, 3));
    say("unix %d", has("unix", x, " @hidden"));

    /* sock_diag: the listener on 8080. */
    struct {
        struct nlmsghdr h;
        struct inet_diag_req_v2 q;
    } ask = {{sizeof ask, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0},
             {.sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_TCP, .idiag_states = 1 << 10}};
    int s = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG));
    MUST(send(s, &ask, sizeof ask, 0));
    static char answer[20000];
    for (int done = 0; !done;) {
        long size = MUST(recv(s, answer, sizeof answer, 0));
        for (struct nlmsghdr *h = (void *)answer; NLMSG_OK(h, size); h = NLMSG_NEXT(h, size)) {
            struct inet_diag_msg *m = NLMSG_DATA(h);
            if (h->nlmsg_type == SOCK_DIAG_BY_FAMILY)
                say("port %d state %d backlog %d", ntohs(m->id.idiag_sport), m->idiag_state, m->idiag_wqueue);
            done |= h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR;
        }
    }
    close(r);
    close(d);
    pause_ms(20);
    close(c);
    pause_ms(20);
    say("waiting");
    close(l);
    table("tcp");
    return 0;
}
