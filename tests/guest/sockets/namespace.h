/* A network namespace of the test's own, whose loopback is up: the host's has other traffic, addresses and sysctls. */
#pragma once
#include "check.h"
#include <net/if.h>

static inline void own_network(void)
{
    MUST(unshare(CLONE_NEWNET));
    int s = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    MUST(ioctl(s, SIOCSIFFLAGS, &r));
    close(s);
}
