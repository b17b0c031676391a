#!/bin/bash
# PID 1 of the Debian PV guest that routes; its configuration is in /router.
export PATH=/usr/sbin:/usr/bin:/usr/lib/busybox HOME=/root TERM=linux
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /run/lock
read -r name </router/name
hostname "$name"
ip link set lo up

modprobe -a crc32c_generic xen-netfront nf_tables nf_conntrack
while read -r interface address; do
    for _ in {1..200}; do
        [ -e "/sys/class/net/$interface" ] && break
        sleep 0.1
    done
    ip addr add "$address" dev "$interface"
    ip link set "$interface" up
done </router/interfaces
while read -r route; do
    # shellcheck disable=SC2086 # the words of a route are its arguments
    ip route add $route
done </router/routes
sysctl -qp /router/sysctls
# Rules first: nothing is forwarded that they did not see.
if nft -f /router/rules.nft; then
    sysctl -qw net.ipv4.ip_forward=1
    echo "router $name: ready"
else
    echo "router $name: its ruleset does not load"
    poweroff -f
fi

# `xl shutdown` makes the kernel run /sbin/poweroff; bash only has to wait.
while :; do
    sleep 3600 &
    wait
done
