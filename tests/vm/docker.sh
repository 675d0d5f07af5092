# docker.sh RUNTIME: what people ask of Docker, a line or a few each. Runs inside (in.sh).
R=$1; N="--runtime $R --network none"
docker rm -f aa hh >/dev/null 2>&1
echo "-- run";  docker run --rm $N bb sh -c 'echo hi; exit 7'; echo "status $?"
echo "-- limits"; docker run -d --name aa $N --memory 64m --memory-swap 96m --memory-reservation 32m --cpus 0.5 --cpu-shares 512 --pids-limit 50 --cpuset-cpus 1 bb sleep 1000 >/dev/null; 
P=$(docker inspect -f '{{.State.Pid}}' aa); G=$(sed -n 's/^0:://p' /proc/$P/cgroup); echo "$G" | sed 's/[0-9a-f]\{64\}/ID/'
for f in memory.max memory.swap.max memory.low cpu.max cpu.weight pids.max cpuset.cpus; do echo "$f $(cat /sys/fs/cgroup$G/$f)"; done
U=$(basename $G); case $U in *.scope) systemctl show $U -p MemoryMax -p MemorySwapMax -p MemoryLow -p CPUWeight -p CPUQuotaPerSecUSec -p TasksMax -p AllowedCPUs -p Delegate -p ActiveState;; esac
systemctl daemon-reload; echo "after reload: $(cat /sys/fs/cgroup$G/memory.max /sys/fs/cgroup$G/pids.max /sys/fs/cgroup$G/cpu.max| tr '\n' ' ')"
docker exec aa sh -c 'cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max 2>/dev/null | tr "\n" " "; nproc; echo'
echo "-- stats"; docker stats --no-stream --format '{{.MemUsage}} {{.PIDs}}' aa; docker top aa | tail -n +2 | sed 's/ \+/ /g' | cut -d' ' -f8-
echo "-- pause"; docker pause aa >/dev/null; docker inspect -f '{{.State.Status}}' aa; cat /sys/fs/cgroup$G/cgroup.freeze; docker unpause aa >/dev/null; docker inspect -f '{{.State.Status}}' aa
echo "-- update"; docker update --memory 128m --memory-swap 256m --cpus 1.5 --pids-limit 60 --cpuset-cpus 0-1 aa >/dev/null; for f in memory.max memory.swap.max cpu.max pids.max cpuset.cpus; do echo "$f $(cat /sys/fs/cgroup$G/$f)"; done
docker exec aa sh -c 'echo execd; exit 5'; echo "status $?"
docker update --cpu-shares 2048 aa >/dev/null; echo "cpu $(cat /sys/fs/cgroup$G/cpu.max) weight $(cat /sys/fs/cgroup$G/cpu.weight)"
docker stop -t 1 aa >/dev/null; docker inspect -f '{{.State.ExitCode}}' aa; docker start aa >/dev/null; docker inspect -f '{{.State.Status}}' aa; docker rm -f aa >/dev/null
sleep 1; ls -d /sys/fs/cgroup$G 2>/dev/null; systemctl list-units --all --no-legend 'docker-*.scope' 2>/dev/null | grep -v '^$'
echo "-- oom init"; docker run --name hh $N --memory 32m --memory-swap 32m bb hog 100; echo "status $?"; docker inspect -f 'OOMKilled {{.State.OOMKilled}}' hh; docker rm hh >/dev/null
echo "-- oom child"; (timeout 20 docker events --filter event=oom --format '{{.Action}}' > /tmp/ev & ); sleep 2; docker run --rm --name hh $N --memory 32m --memory-swap 32m bb sh -c 'hog 100; echo child $?; grep oom_kill /sys/fs/cgroup/memory.events'; echo "status $?"; sleep 2; sort -u /tmp/ev
echo "-- cgroup parent"; docker run --rm $N --cgroup-parent a-b.slice bb echo in; 
systemctl --failed --no-legend
