# podman.sh RUNTIME CGROUPMANAGER: what people ask of podman. Runs inside (in.sh), as root or as `user`.
R=$1; M=$2; P="podman --runtime $R --cgroup-manager $M"; id -un
$P rm -f aa >/dev/null 2>&1
$P run --rm --network none bb sh -c 'echo hi; exit 7'; echo "status $?"
$P run -d --name aa --network none --memory 64m --cpus 0.5 --pids-limit 50 bb sleep 1000 >/dev/null; echo "run $?"
PID=$($P inspect -f '{{.State.Pid}}' aa); G=$(sed -n 's/^0:://p' /proc/$PID/cgroup); echo $G
for f in memory.max cpu.max pids.max; do echo "$f $(cat /sys/fs/cgroup$G/$f)"; done
$P exec aa sh -c 'echo in; exit 5'; echo "status $?"
$P stats --no-stream --format '{{.MemUsage}} {{.PIDs}}' aa
$P pause aa >/dev/null; $P inspect -f '{{.State.Status}}' aa; $P unpause aa >/dev/null; $P inspect -f '{{.State.Status}}' aa
$P update --memory 128m aa >/dev/null 2>&1; echo "memory.max $(cat /sys/fs/cgroup$G/memory.max)"
$P stop -t 1 aa >/dev/null; $P inspect -f '{{.State.ExitCode}}' aa; $P rm -f aa >/dev/null
ls -d /sys/fs/cgroup$G 2>/dev/null
$P run --name aa --network none --memory 32m --memory-swap 32m bb hog 100; echo "status $?"; $P inspect -f 'OOMKilled {{.State.OOMKilled}}' aa; $P rm -f aa >/dev/null
