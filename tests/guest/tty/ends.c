/* The two ends of a pseudo-terminal: readiness, packet mode, peers, limits, edge-triggered waiting. */
#include "check.h"
#include <pty.h>
#include <sys/epoll.h>
#include <sys/sysmacros.h>
#include <termios.h>

static int events(int fd)
{
    struct pollfd f = {fd, POLLIN | POLLOUT | POLLPRI, 0};
    pause_ms(20);
    MUST(poll(&f, 1, 0));
    return f.revents;
}

static void show(const char *what, int fd)
{
    char b[8192];
    /* Linux moves bytes between the ends in a thread of its own. */
    pause_ms(20);
    ssize_t n = read(fd, b, sizeof b);
    int e = errno;
    printf("%s: %zd ", what, n);
    if (n < 0)
        printf("%s", strerrorname_np(e));
    for (ssize_t i = 0; i < n && i < 40; i++)
        if (b[i] >= ' ' && b[i] < 127)
            putchar(b[i]);
        else
            printf("\\%o", (unsigned char)b[i]);
    putchar('\n');
    fflush(stdout);
}

static void names(int master)
{
    char name[100];
    int peer = MUST(ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
    SHOW(ttyname_r(peer, name, sizeof name));
    SHOW(strcmp(name, ptsname(master)));
    SHOW(fcntl(peer, F_GETFD));
    SHOW(fcntl(peer, F_GETFL) & (O_ACCMODE | O_NONBLOCK));
    struct stat a, b;
    MUST(fstat(peer, &a));
    MUST(stat(name, &b));
    SHOW(a.st_ino == b.st_ino && a.st_rdev == b.st_rdev);
    SHOW(S_ISCHR(a.st_mode));
    SHOW(a.st_rdev >> 8);
    SHOW(chmod(name, 0600));
    MUST(fstat(peer, &a));
    say("mode %o", a.st_mode & 07777);
    SHOW(ttyname_r(master, name, sizeof name));
    close(peer);
    MUST(fstat(master, &a));
    SHOW(a.st_rdev == makedev(5, 2));
    SHOW(lseek(master, 0, SEEK_SET));
    char c;
    SHOW(pread(master, &c, 1, 0));
    SHOW(mmap(NULL, 4096, PROT_READ, MAP_SHARED, master, 0) == MAP_FAILED);
    SHOW(fsync(master));
}

static void ready(void)
{
    int master = MUST(posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK));
    say("no slave yet: %#x", events(master));
    show("read", master);
    SHOW(write(master, "early\n", 6));
    show("echo", master);
    SHOW(open(ptsname(master), O_RDWR | O_NOCTTY));
    MUST(unlockpt(master));
    int slave = MUST(open(ptsname(master), O_RDWR | O_NOCTTY | O_NONBLOCK));
    say("slave: %#x", events(slave));
    show("line", slave);
    show("nothing", slave);
    say("slave: %#x, master: %#x", events(slave), events(master));
    MUST(write(slave, "bye", 3));
    int n;
    pause_ms(20);
    SHOW(ioctl(master, FIONREAD, &n));
    SHOW(n);
    SHOW(ioctl(slave, TIOCOUTQ, &n));
    SHOW(n);
    close(slave);
    say("slave closed: %#x", events(master));
    show("last", master);
    show("end", master);
    say("drained: %#x", events(master));
    slave = MUST(open(ptsname(master), O_RDWR | O_NOCTTY | O_NONBLOCK));
    say("again open: %#x", events(master));
    SHOW(ioctl(slave, TIOCGPTN, &n));
    SHOW(ioctl(slave, TIOCGETD, &n));
    SHOW(ioctl(slave, TIOCMGET, &n));
    SHOW(ioctl(slave, 0x54ff, &n));
    SHOW(tcgetsid(slave));
    SHOW(tcflush(slave, 9));
    SHOW(tcflow(slave, 9));
    SHOW(tcsendbreak(slave, 0));
    SHOW(tcdrain(slave));
    SHOW(tcflow(slave, TCOOFF));
    say("stopped: %#x", events(slave));
    SHOW(write(slave, "x", 1));
    SHOW(tcflow(slave, TCOON));
    SHOW(write(slave, "x", 1));
    show("after", master);
    SHOW(tcflow(slave, TCIOFF));
    show("stop character", master);
    names(master);
    close(slave);
    close(master);
}

static void packets(void)
{
    int master, slave, on = 1;
    MUST(openpty(&master, &slave, NULL, NULL, NULL));
    fcntl(master, F_SETFL, O_NONBLOCK);
    SHOW(ioctl(master, TIOCPKT, &on));
    SHOW(ioctl(master, TIOCGPKT, &on));
    MUST(write(slave, "data", 4));
    show("data", master);
    struct termios t;
    MUST(tcgetattr(slave, &t));
    MUST(tcflush(slave, TCIOFLUSH));
    say("events %#x", events(master));
    show("flush", master);
    MUST(tcflow(slave, TCOOFF));
    show("stop", master);
    MUST(tcflow(slave, TCOON));
    show("start", master);
    t.c_iflag &= ~IXON;
    MUST(tcsetattr(slave, TCSANOW, &t));
    show("no flow control", master);
    t.c_iflag |= IXON;
    MUST(tcsetattr(slave, TCSANOW, &t));
    show("flow control", master);
    t.c_lflag ^= ECHO;
    MUST(tcsetattr(slave, TCSANOW, &t));
    show("nothing", master);
    on = 0;
    SHOW(ioctl(master, TIOCPKT, &on));
    close(slave);
    close(master);
}

static void edges(void)
{
    int master, slave;
    MUST(openpty(&master, &slave, NULL, NULL, NULL));
    int ep = MUST(epoll_create1(0));
    struct epoll_event e = {.events = EPOLLIN | EPOLLET}, got;
    MUST(epoll_ctl(ep, EPOLL_CTL_ADD, slave, &e));
    SHOW(epoll_wait(ep, &got, 1, 0));
    MUST(write(master, "a\n", 2));
    SHOW(epoll_wait(ep, &got, 1, 1000));
    SHOW(epoll_wait(ep, &got, 1, 50));
    MUST(write(master, "b\n", 2));
    SHOW(epoll_wait(ep, &got, 1, 1000));
    show("first", slave);
    show("second", slave);
    SHOW(epoll_wait(ep, &got, 1, 50));
    close(master);
    SHOW(epoll_wait(ep, &got, 1, 1000));
    say("events %#x", got.events);
    close(slave);
    close(ep);
}

static void timing(void)
{
    int master, slave;
    MUST(openpty(&master, &slave, NULL, NULL, NULL));
    struct termios t;
    MUST(tcgetattr(slave, &t));
    cfmakeraw(&t);
    t.c_cc[VMIN] = 5;
    t.c_cc[VTIME] = 2;
    MUST(tcsetattr(slave, TCSANOW, &t));
    fflush(stdout);
    pid_t typist = MUST(fork());
    if (typist == 0) {
        for (int i = 0; i < 4; i++) {
            pause_ms(60);
            MUST(write(master, "k", 1));
        }
        _exit(0);
    }
    long start = now_ms();
    show("four keys, then a pause", slave);
    long took = now_ms() - start;
    SHOW(took > 300 && took < 2000);
    waitpid(typist, NULL, 0);
    t.c_cc[VMIN] = 0;
    t.c_cc[VTIME] = 3;
    MUST(tcsetattr(slave, TCSANOW, &t));
    start = now_ms();
    show("no key", slave);
    took = now_ms() - start;
    SHOW(took >= 280 && took < 2000);
    MUST(write(master, "now", 3));
    show("keys", slave);
    /* A write larger than what the other side takes at once waits for it. */
    static char big[200000];
    memset(big, 'w', sizeof big);
    fflush(stdout);
    pid_t writer = MUST(fork());
    if (writer == 0) {
        SHOW(write(slave, big, sizeof big));
        _exit(0);
    }
    size_t total = 0;
    while (total < sizeof big) {
        ssize_t n = read(master, big, sizeof big);
        if (n <= 0)
            break;
        total += n;
    }
    waitpid(writer, NULL, 0);
    SHOW(total);
    t.c_lflag |= ICANON;
    MUST(tcsetattr(slave, TCSANOW, &t));
    memset(big, 'l', 6000);
    big[6000] = '\n';
    MUST(write(master, big, 6001));
    pause_ms(50);
    show("an overlong line", slave);
    close(slave);
    close(master);
}

int main(void)
{
    ready();
    packets();
    edges();
    timing();
    return 0;
}
