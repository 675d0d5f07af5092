#@ needs=strace gdb gcc
#@ timeout=180
# Tracers as they are: strace and gdb.
cat > d.c <<'C'
#include <pthread.h>
#include <stdio.h>
#include <string.h>
struct point { int x, y; double d; };
static int depth(int n, struct point *p)
{
    if (n == 0) {
        p->x += 7;
        p->d = 2.5;
        return p->x;
    }
    return depth(n - 1, p) + 1;
}
static void *thread(void *arg)
{
    struct point p = {1, 2, 1.5};
    *(int *)arg = depth(1, &p);
    return NULL;
}
int main(int argc, char **argv)
{
    struct point p = {1, 2, 1.5};
    int r = depth(3, &p), of_thread = 0;
    pthread_t t;
    pthread_create(&t, NULL, thread, &of_thread);
    pthread_join(t, NULL);
    printf("r=%d %d %s\n", r, of_thread, argv[1]);
    return r;
}
C
gcc -g -O0 -pthread -o d d.c

# Addresses and ids are not the same on both sides.
hide() { sed -E 's/0x[0-9a-f]+/ADDR/g; s/\(LWP [0-9]+\)/(LWP N)/g; s/process [0-9]+/process N/g; s/  +/ /g'; }
cat > commands <<'G'
set pagination off
set startup-with-shell off
set print thread-events off
set debuginfod enabled off
break depth if n == 0
run hello
bt
print *p
print p->x + n
finish
stepi
stepi
next
break puts
print (int)strlen("four")
disable 1
print depth(2, p)
info threads
continue
G
gdb -nx -batch -x commands ./d 2>&1 | grep -v -e '^Using host' -e 'No such file' -e '^\[New' -e '^\[Thread' -e '^Download' | hide
echo "gdb ended: ${PIPESTATUS[0]}"

# To a running process, and back.
sleep 100 & pid=$!
while [ "$(cat /proc/$pid/comm)" != sleep ]; do :; done
gdb -nx -batch -ex 'set debuginfod enabled off' -ex 'print $_siginfo.si_signo' -ex detach -p $pid 2>&1 | grep -o -e '^\$1 = .*' -e '^\[Inferior 1.*' | hide
kill $pid; wait $pid 2>/dev/null; echo "sleep: $?"

# The calls of a command, one after the other. What differs by kernel or machine is left out.
strace -f -o out -e trace=execve,openat,read,write,close,exit_group,wait4,pipe2,kill,rt_sigreturn,clone,getpid,dup2 /bin/sh -c 'echo one; (exit 3); kill -USR1 $$' &
wait $! 2>/dev/null; echo "strace: $?"
sed -E 's/^[0-9]+ +//; s/0x[0-9a-f]+[^,)]*/ADDR/g; s/[0-9]{3,}/N/g; s/= [0-9]+$/= N/; s/(getpid\(\)|kill\().*/\1/; s/pid=[0-9]+/pid=N/; s/[0-9]+ vars/N vars/' out | grep -v -e resumed -e unfinished -e ENOENT -e '^wait4' -e SIGCHLD -e '^clone' | sed -E 's/si_pid=[0-9]+/si_pid=N/; s/si_uid=[0-9]+/si_uid=N/'
strace -c -o out /bin/echo counted; sed -nE '/(execve|write|exit_group|close)$/s/ +[0-9.]+ +[0-9.]+ +[0-9]+ +//p' out | sort
strace -o out -e inject=write:retval=3 /bin/echo injected; echo "injected: $?"; grep -c INJECTED out
strace -qq -o out -y -e trace=file cat /etc/hostname > /dev/null; grep -c hostname out
strace --seccomp-bpf -f -o out -e trace=getppid sh -c 'echo $PPID > /dev/null'; echo "seccomp-bpf: $?"
