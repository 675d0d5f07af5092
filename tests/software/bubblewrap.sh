#@ needs=bwrap setpriv
#@ timeout=120
# A sandbox inside the sandbox, as root and as an ordinary user.
both() {
  echo "== $*"
  "$@" 2>&1
  echo "root: $?"
  setpriv --reuid 1000 --regid 1000 --clear-groups "$@" 2>&1
  echo "user: $?"
}
box() {
  both bwrap --ro-bind /usr /usr --symlink usr/lib64 /lib64 --symlink usr/lib /lib --symlink usr/bin /bin \
    --proc /proc --dev /dev --tmpfs /tmp --chdir /tmp --unshare-all --die-with-parent "$@"
}
box sh -c 'ls /; ls /tmp; echo $$; ls /proc | grep -c "^[0-9]"'
box --uid 5 --gid 6 --hostname box sh -c 'id -u; id -g; hostname; cat /proc/self/uid_map'
box sh -c 'touch /usr/x; touch /tmp/x && ls /tmp; echo x > /dev/null && echo written'
box --dir /tmp/a --file 3 /tmp/a/f 3<<<'handed over' cat /tmp/a/f
box --cap-drop ALL sh -c 'grep CapEff /proc/self/status'
box --unsetenv HOME --setenv A b sh -c 'echo ${HOME-unset} $A'
box sh -c 'mount -t tmpfs none /tmp 2>/dev/null || echo refused'
box sh -c 'exit 7'
box sh -c 'kill -9 $$'
# The whole sandbox ends with the outer process: nobody has the pipe open any more.
mkfifo alive
bwrap --bind / / --unshare-pid --die-with-parent sh -c 'echo alive; exec sleep 1000' > alive & outer=$!
exec 4< alive
read -r line <&4; echo "$line"
kill -9 $outer; wait $outer 2> /dev/null; echo "outer: $?"
cat <&4; echo gone
both bwrap --ro-bind / / --dev-bind /dev /dev --unshare-user --disable-userns unshare -U true
both bwrap --bind / / --proc /proc sh -c 'test -e /proc/1/status && echo there'
