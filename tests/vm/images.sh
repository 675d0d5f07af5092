# Runs inside, once: engines that know Cofferdam, and for each an image of busybox and of a program that takes memory.
set -e
[ -e /img/bb.tar ] && exit
mkdir -p /img/rootfs/{bin,proc,sys,dev,tmp,etc}
cd /img
for applet in $(busybox --list); do ln -s busybox "rootfs/bin/$applet"; done 2>/dev/null
rm -f rootfs/bin/busybox
cp /bin/busybox rootfs/bin/
cat > hog.c <<'C'
#include <stdlib.h>
int main(int argc, char **argv) {
    size_t size = (size_t)atol(argv[argc - 1]) << 20;
    volatile char *memory = malloc(size);
    for (size_t at = 0; at < size; at += 4096) memory[at] = 1;
    return 0;
}
C
gcc -static -O1 -o rootfs/bin/hog hog.c
tar -C rootfs -cf new.tar .
mkdir -p /etc/docker
echo '{"runtimes":{"cofferdam":{"path":"/usr/local/bin/cofferdam"}}}' > /etc/docker/daemon.json
systemctl restart containerd docker
docker import new.tar bb
podman import new.tar bb
docker save bb | ctr image import -
chmod 644 new.tar
loginctl enable-linger user
su - user -c 'podman import /img/new.tar bb'
mv new.tar bb.tar
