/* Users of sockets as a user namespace calls them, and what is counted for each network namespace. */
//@ root=only
//@ options=--user 0
#include "check.h"
#include "namespace.h"
#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/prctl.h>

/* The eighth word of the first line that has a socket of this port. */
static int owner(const char *table, int port)
{
    char line[400], want[16];
    FILE *f = fopen(table, "r");
    int uid = -1;
    sprintf(want, ":%04X ", port);
    while (f && uid < 0 && fgets(line, sizeof line, f))
        if (strstr(line, want))
            sscanf(line, "%*s %*s %*s %*s %*s %*s %*s %d", &uid);
    fclose(f);
    return uid;
}

static void counted(const char *what)
{
    char line[200];
    FILE *f = fopen("/proc/self/net/sockstat", "r");
    if (f && fgets(line, sizeof line, f))
        printf("%s: %s", what, line);
    fclose(f);
    fflush(stdout);
}

static unsigned long cookie(int s)
{
    unsigned long c = 0;
    socklen_t size = sizeof c;
    MUST(getsockopt(s, SOL_SOCKET, 71 /* SO_NETNS_COOKIE */, &c, &size));
    return c;
}

/* What sock_diag(7) says, asked by this socket. */
static int asked(int d, int port)
{
    struct {
        struct nlmsghdr h;
        struct inet_diag_req_v2 r;
    } q = {{sizeof q, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 0, 0},
           {.sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_TCP, .idiag_states = -1u, .id.idiag_sport = htons(port)}};
    char answer[8192];
    MUST(send(d, &q, sizeof q, 0));
    int uid = -1;
    for (int done = 0; !done;) {
        long n = MUST(recv(d, answer, sizeof answer, 0));
        for (struct nlmsghdr *h = (void *)answer; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n))
            if (h->nlmsg_type == SOCK_DIAG_BY_FAMILY)
                uid = ((struct inet_diag_msg *)NLMSG_DATA(h))->idiag_uid;
            else
                done = 1;
    }
    return uid;
}

static void look(const char *who, int d)
{
    say("%s: tcp %d udp %d, asked %d", who, owner("/proc/self/net/tcp", 4000), owner("/proc/self/net/udp", 4000), asked(d, 4000));
}

int main(void)
{
    int outside = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    own_network();
    counted("at first");
    int d = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG));
    MUST(setresuid(1000, 1000, 1000));
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(4000)};
    int t = MUST(socket(AF_INET, SOCK_STREAM, 0)), u = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    MUST(bind(t, (void *)&a, sizeof a));
    MUST(listen(t, 1));
    MUST(bind(u, (void *)&a, sizeof a));
    look("same", d);
    say("own cookie differs %d, stays %d", cookie(outside) != cookie(t), cookie(t) == cookie(u));
    int p[2], status;
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
    counted("then");
    pid_t pid = MUST(fork());
    if (pid == 0) {
        MUST(prctl(PR_SET_DUMPABLE, 1));
        MUST(unshare(CLONE_NEWUSER));
        look("unmapped", d);
        put_file("/proc/self/uid_map", "5 1000 1");
        look("mapped", d);
        look("mapped, own socket", MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG)));
        _exit(0);
    }
    MUST(waitpid(pid, &status, 0));
    show_status("child", status);
    pid = MUST(fork());
    if (pid == 0) {
        MUST(unshare(CLONE_NEWUSER | CLONE_NEWNET));
        counted("another");
        int own = MUST(socket(AF_INET, SOCK_STREAM, 0));
        counted("another");
        say("cookie differs %d", cookie(own) != cookie(t) && cookie(own) != cookie(outside));
        _exit(0);
    }
    MUST(waitpid(pid, &status, 0));
    show_status("child", status);
    return 0;
}
