#!/bin/sh
# PID 1 of the Debian PV guest that routes; its configuration is in /router.
export PATH=/usr/sbin:/usr/bin HOME=/root TERM=linux
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /run/lock /var/lib
read -r name </router/name
hostname "$name"
ip link set lo up

modprobe -a crc32c_generic xen-netfront nf_tables nf_conntrack
while read -r interface address; do
    tries=0
    until [ -e "/sys/class/net/$interface" ] || [ $((tries += 1)) -gt 200 ]; do
        sleep 0.1
    done
    ip addr add "$address" dev "$interface"
    ip link set "$interface" up
done </router/interfaces
while read -r route; do
    # shellcheck disable=SC2086 # the words of a route are its arguments
    ip route add $route
done </router/routes
# The script loads its rules first and only then lets Linux forward.
if sh /router/firewall start >/run/firewall.log 2>&1; then
    if [ -e /router/guests ]; then
        # A driver domain: xl's own daemon runs the hotplug script for each guest's vif.
        modprobe -a xen-evtchn xen-gntdev xen-privcmd xenfs xen-netback
        mount -t xenfs xenfs /proc/xen
        mkdir -p /run/xen
        xl devd || poweroff -f
    fi
    echo "router $name: ready"
else
    cat /run/firewall.log
    echo "router $name: its firewall does not start"
    poweroff -f
fi

# `xl shutdown` makes the kernel run /sbin/poweroff; the shell only has to wait.
while :; do
    sleep 3600 &
    wait
done
