# valgrind: it maps, reads and translates programs itself, threads, children and signals in them too.
#@ needs=valgrind gcc
#@ timeout=120
cat > v.c <<'C'
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static int shared;
static volatile sig_atomic_t signals;
static void handler(int n) { signals += n == SIGUSR1; }
static void *thread(void *arg) { shared++; return arg; }
int main(int argc, char **argv)
{
    char *p = malloc(10);
    p[12] = 1;
    pthread_t t;
    pthread_create(&t, NULL, thread, NULL);
    shared++;
    pthread_join(t, NULL);
    signal(SIGUSR1, handler);
    for (int i = 0; i < 3; i++)
        kill(getpid(), SIGUSR1);
    int status = 0;
    if (fork() == 0)
        _exit(p[1] ? 3 : 4);
    wait(&status);
    printf("%d %d %d\n", shared, (int)signals, WIFEXITED(status));
    return 0;
}
C
gcc -g -O0 -pthread -o v v.c
for tool in memcheck helgrind cachegrind; do
  out=; [ $tool = cachegrind ] && out=--cachegrind-out-file=/dev/null
  valgrind --tool=$tool $out --log-file=log --error-exitcode=9 --child-silent-after-fork=yes ./v; echo "$tool $?"
  grep -o -e 'Invalid write of size 1' -e 'Conditional jump' -e 'Possible data race' -e 'ERROR SUMMARY: .* from [0-9]* contexts' -e 'definitely lost: .*' log | sort | uniq -c | tr -s ' '
done
valgrind -q --trace-children=yes --log-file=log sh -c 'ls / > /dev/null; echo "a shell: $?"'; echo "complaints: $(grep -c . log)"
