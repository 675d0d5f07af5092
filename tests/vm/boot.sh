#!/usr/bin/env bash
# boot.sh DIR [KERNEL OPTION…]: starts the machine, waits until it answers, and leaves it running.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
dir=${1:?usage: boot.sh DIR [KERNEL OPTION…]}
shift
# Without SMAP: see README.md.
machine=(-accel "tcg,thread=multi,tb-size=1024" -cpu "max,la57=off,smap=off")
[ "${KVM:-0}" = 1 ] && machine=(-enable-kvm -cpu host)
nice -n 5 qemu-system-x86_64 "${machine[@]}" -smp 2 -m 4096 -kernel "$dir/vmlinuz" -initrd "$dir/initrd" \
  -append "root=/dev/vda rw console=ttyS0 $*" -drive "file=$dir/disk.img,format=raw,if=virtio,cache=unsafe" \
  -netdev user,id=n,restrict=on,hostfwd=tcp:127.0.0.1:2222-:22 -device virtio-net-pci,netdev=n \
  -vga none -display none -serial "file:$dir/console.log" -pidfile "$dir/pid" -daemonize
for _ in $(seq 60); do
  "$here/in.sh" "$dir" sh true 2>/dev/null && exit
  sleep 3
done
echo "it does not answer; see $dir/console.log" >&2
exit 1
