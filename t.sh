unshare -Urupf --kill-child --mount-proc sleep 100 & 
sleep 0.5
outer=$!
inner=$(cat /proc/$outer/task/$outer/children)
nsenter -p -t $inner sh -c 'readlink /proc/self; cat /proc/self/stat; ls -l /proc/self/; cat /proc/self/status | head -5; ls /proc/$(readlink /proc/self)/'
kill -9 $inner
