#!/usr/bin/busybox sh
# libxl's hotplug script for a vif: into its bridge, up, done.
# $1 online|add|offline|remove; $vif and $XENBUS_PATH come from libxl.
# Few processes and a static shell: `xl create` waits for this, and here a process costs 0.1 s.
export PATH=/usr/sbin:/usr/bin:/usr/lib/busybox
case "$1" in
online | add)
    # The bridge, and behind it the MTU if there is one.
    set -- $(xenstore-read "$XENBUS_PATH/bridge" "$XENBUS_PATH/mtu" 2>/dev/null)
    if ! error=$(ip link set "$vif" ${2:+mtu "$2"} ${1:+master "$1"} up 2>&1); then
        xenstore-write "$XENBUS_PATH/hotplug-error" "$error" \
            "$XENBUS_PATH/hotplug-status" error
        exit 1
    fi
    xenstore-write "$XENBUS_PATH/hotplug-status" connected
    ;;
esac
exit 0
