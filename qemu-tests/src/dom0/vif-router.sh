#!/usr/bin/busybox sh
# What `xl devd` runs for a guest's vif in a router: as Xen's vif-route does, it gives the vif its name,
# the gateway's address and a route to each of the guest's.
# $1 online|add|offline|remove; $vif and $XENBUS_PATH come from libxl.
# Few processes and a static shell, as in dom0's: neither system is to wait for its scripts.
export PATH=/usr/sbin:/usr/bin

# fail REASON: where the toolstack looks.
fail() {
    xenstore-write "$XENBUS_PATH/hotplug-error" "$1" "$XENBUS_PATH/hotplug-status" error
    exit 1
}

case "$1" in
online | add)
    name=$(xenstore-read "$XENBUS_PATH/vifname" 2>/dev/null)
    if [ -n "$name" ]; then
        ip link set dev "$vif" name "$name" || fail "no name $name"
    else
        name=$vif
    fi
    while read -r prefix gateway; do
        case "$name" in "$prefix"*) break ;; esac
    done </router/guests
    ip link set dev "$name" up &&
        ip addr add "$gateway/32" dev "$name" || fail "no address $gateway"
    for address in $(xenstore-read "$XENBUS_PATH/ip" 2>/dev/null); do
        ip route add "$address" dev "$name" src "$gateway" || fail "no route to $address"
    done
    xenstore-write "$XENBUS_PATH/hotplug-status" connected
    ;;
esac
exit 0
