#!/bin/bash
# PID 1 of the lab's dom0: the toolstack's daemons, then the host's agent.
export PATH=/usr/sbin:/usr/bin:/usr/lib/busybox HOME=/root TERM=linux

mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /proc /sys /run/lock /run/xen /run/netns /tmp /share
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devpts -o ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t tmpfs shm /dev/shm
hostname dom0
ip link set lo up
echo "lab: init started"

modprobe -aq xen-evtchn xen-gntdev xen-gntalloc xen-privcmd xenfs \
    xen-netback xen-blkback bridge veth loop virtio_pci virtio_console 9pnet_virtio 9p
mount -t xenfs xenfs /proc/xen
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 share /share ||
    echo "lab: no share from the host"

# Traffic between guests must not depend on what dom0's own firewall thinks.
sysctl -qw net.bridge.bridge-nf-call-iptables=0 2>/dev/null

read -r words </proc/cmdline
case " $words " in
*" lab.oxenstored "*) oxenstored --pid-file /run/xenstored.pid ;;
*) xenstored --pid-file=/run/xenstored.pid ;;
esac
for _ in {1..100}; do
    xenstore-exists / 2>/dev/null && break
    sleep 0.1
done
xen-init-dom0 || echo "lab: xen-init-dom0 failed"
xenconsoled --log=all --log-dir=/var/log/xen

echo "lab: agent starts"
dom0-agent </dev/null &
# As PID 1 bash reaps whatever the commands leave behind while it waits here.
wait $!
echo "lab: agent ended with status $?"
sync
poweroff -f
