#!/bin/sh
# PID 1 of a Debian guest that does as it is told: each line on its console is a command. The guest
# says `NAME: done N STATUS` when the Nth is done.
export PATH=/usr/sbin:/usr/bin HOME=/root TERM=linux
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /run/lock /var/lib
read -r name </guest/name
hostname "$name"
ip link set lo up
stty -echo </dev/hvc0
modprobe -a crc32c_generic xen-netfront

# Its interface comes, and comes again: then it is another one. /run/up says which has its address.
configure() {
    while [ -e /sys/class/net/eth0/ifindex ] && read -r index </sys/class/net/eth0/ifindex &&
        [ "$index" != "$configured" ]; do
        if sh /guest/network >/run/network.log 2>&1; then
            configured=$index
            echo "$index" >/run/up
        else
            sleep 1
        fi
    done
}
ip monitor link | {
    configure
    while read -r _; do configure; done
} &

number=0
echo "$name: ready"
while read -r line; do
    number=$((number + 1))
    sh -c "$line" 2>&1
    echo "$name: done $number $?"
done </dev/hvc0
poweroff -f
