#!/bin/bash
# libxl's hotplug script for a vif: into its bridge, up, done.
# $1 online|add|offline|remove; $vif and $XENBUS_PATH come from libxl.
export PATH=/usr/sbin:/usr/bin:/usr/lib/busybox
case "$1" in
online | add)
    bridge=$(xenstore-read "$XENBUS_PATH/bridge" 2>/dev/null)
    mtu=$(xenstore-read "$XENBUS_PATH/mtu" 2>/dev/null)
    {
        [ -z "$mtu" ] || ip link set "$vif" mtu "$mtu"
        [ -z "$bridge" ] || ip link set "$vif" master "$bridge"
        ip link set "$vif" up
    } >/tmp/vif-lab.$$ 2>&1
    if [ -s /tmp/vif-lab.$$ ]; then
        xenstore-write "$XENBUS_PATH/hotplug-error" "$(</tmp/vif-lab.$$)" \
            "$XENBUS_PATH/hotplug-status" error
        exit 1
    fi
    rm /tmp/vif-lab.$$
    xenstore-write "$XENBUS_PATH/hotplug-status" connected
    ;;
esac
exit 0
