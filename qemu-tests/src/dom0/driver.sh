#!/bin/sh
# PID 1 of the Debian PV guest that drives a network card for others; /driver/words has its name, the card's
# module and the bridge's name.
export PATH=/usr/sbin:/usr/bin HOME=/root TERM=linux
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /run/lock /run/xen /var/lib
read -r name module bridge </driver/words
hostname "$name"
ip link set lo up

modprobe -a crc32c_generic xen-pcifront "$module" bridge xen-evtchn xen-gntdev xen-privcmd xenfs xen-netback
mount -t xenfs xenfs /proc/xen
# Its unasked packets are not what is compared.
for kind in all default; do
    echo 1 >"/proc/sys/net/ipv6/conf/$kind/disable_ipv6"
done
tries=0
until [ -e /sys/class/net/eth0 ] || [ $((tries += 1)) -gt 200 ]; do
    sleep 0.1
done
ip link add "$bridge" type bridge
ip link set "$bridge" up
if ip link set eth0 master "$bridge" up && xl devd; then
    echo "driver domain $name: ready"
else
    echo "driver domain $name: it has no card, or no xl devd"
    poweroff -f
fi

# `xl shutdown` makes the kernel run /sbin/poweroff; the shell only has to wait.
while :; do
    sleep 3600 &
    wait
done
