#!/usr/bin/env bash
# make.sh DIR: a disk, a kernel and a key for boot.sh.
set -euo pipefail
dir=${1:?usage: make.sh DIR}
mkdir -p "$dir/root"
packages=systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,udev,linux-image-amd64,docker.io,apparmor,containerd,podman,crun,runc,conmon,uidmap
packages+=,slirp4netns,fuse-overlayfs,iptables,iproute2,gcc,libc6-dev,python3,python3-grpcio,openssh-server,procps,busybox-static,util-linux,kmod
mmdebstrap --variant=important --components=main --include="$packages" bookworm "$dir/root.tar"
tar -xf "$dir/root.tar" -C "$dir/root"
rm "$dir/root.tar"
root=$dir/root
[ -f "$dir/key" ] || ssh-keygen -q -t ed25519 -N '' -f "$dir/key"
install -d -m 700 "$root/root/.ssh"
cp "$dir/key.pub" "$root/root/.ssh/authorized_keys"
echo vm > "$root/etc/hostname"
echo '/dev/vda / ext4 defaults 0 1' > "$root/etc/fstab"
printf '[Match]\nName=en*\n[Network]\nDHCP=yes\n' > "$root/etc/systemd/network/all.network"
chroot "$root" systemctl enable systemd-networkd
chroot "$root" useradd -m -s /bin/bash -u 1000 user
echo user:100000:65536 | tee "$root/etc/subuid" > "$root/etc/subgid"
cp "$root"/boot/vmlinuz-* "$dir/vmlinuz"
cp "$root"/boot/initrd.img-* "$dir/initrd"
truncate -s 12G "$dir/disk.img"
mkfs.ext4 -q -d "$root" "$dir/disk.img"
rm -rf "$root"
