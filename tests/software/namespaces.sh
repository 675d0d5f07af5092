#@ needs=unshare nsenter lsns setpriv ip ps ipcmk
#@ timeout=120
# What util-linux, iproute2 and procps make of namespaces, as root and as an ordinary user.
both() {
  echo "== $*"
  "$@" 2>&1
  echo "root: $?"
  setpriv --reuid 1000 --regid 1000 --clear-groups "$@" 2>&1
  echo "user: $?"
}
both unshare -Ur id
both unshare -Ur cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups
both unshare -U sh -c 'id -u; id -g'
both unshare -Urpf --mount-proc sh -c "ps -o pid,ppid,comm | tr -s ' '"
both unshare -Urpf --mount-proc sh -c 'ls -d /proc/[0-9]*; readlink /proc/self'
both unshare -Urn sh -c "ip -o link | tr -s ' ' | cut -d' ' -f2-5; ip link set lo up && ip -o -4 addr show lo | tr -s ' ' | cut -d' ' -f2-4"
both unshare -n true
both unshare -Uru sh -c 'hostname inside && hostname'
both unshare -Urpf sh -c 'echo $$; sh -c "echo \$PPID"; exit 3'
# A name that no host has in its /tmp: natively that is the host's own.
both unshare -Urm sh -c 'mount -t tmpfs none /tmp && touch /tmp/of-the-tmpfs && stat -c %u /tmp/of-the-tmpfs && umount /tmp && ls /tmp/of-the-tmpfs'
both unshare -Uri sh -c 'ipcmk -Q >/dev/null && ipcs -q | grep -c 0x'
both unshare -Ur sh -c 'unshare -Ur sh -c "cat /proc/self/uid_map"'
both unshare -Urm sh -c 'mount --bind /proc/self/ns/uts /proc/version && stat -f -c %t /proc/version && grep -c " uts:.* /proc/version .* - nsfs nsfs " /proc/self/mountinfo'
hostname | wc -l
# Another process's namespaces.
cd "$(mktemp -d)"
unshare -Urupf --kill-child --mount-proc sh -c 'hostname entered; echo ready > ready; exec sleep 100' &
until [ -s ready ]; do sleep 0.05; done
outer=$!
inner=$(cat /proc/$outer/task/$outer/children)
nsenter -U --preserve-credentials -t $inner cat /proc/self/uid_map
nsenter -U -u --preserve-credentials -t $inner hostname
nsenter -p -t $inner sh -c 'kill -0 1 && echo seen'
nsenter -U -m -u -p --preserve-credentials -t $inner ps -o pid,comm | grep -c sleep
nsenter -u -t $inner hostname
lsns -n -o TYPE,NPROCS,COMMAND -t pid -p $inner | tr -s ' '
kill -9 $inner
wait $outer
rm -r "$PWD"
