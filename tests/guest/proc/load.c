//@ static=no
/* Load averages rise when something runs: in /proc/loadavg and in sysinfo(2), which say the same. */
#include "check.h"
#include <sys/sysinfo.h>

int main(void)
{
    struct timespec t = {0, 0};
    double now[3] = {0}, own[3];
    /* A sample is taken every five seconds. */
    while (t.tv_sec < 8 && now[0] <= 0)
        for (int i = 0; i < 100; i++) {
            clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
            if (i == 0)
                getloadavg(now, 3);
        }
    int running = 0, all = 0, last = 0;
    FILE *f = fopen("/proc/loadavg", "r");
    SHOW(fscanf(f, "%lf %lf %lf %d/%d %d", &own[0], &own[1], &own[2], &running, &all, &last));
    SHOW(own[0] > 0);
    SHOW(running > 0 && all >= running && last >= getpid());
    struct sysinfo s;
    MUST(sysinfo(&s));
    double difference = s.loads[0] / 65536.0 - own[0];
    SHOW(difference < 0.2 && difference > -0.2);
    return 0;
}
