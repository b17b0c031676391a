#!/bin/bash
# libxl's hotplug script for a disk that is a file: a loop device for it.
export PATH=/usr/sbin:/usr/bin:/usr/lib/busybox
case "$1" in
add)
    file=$(xenstore-read "$XENBUS_PATH/params")
    # A guest's disks come at the same moment, and find the same device free.
    for _ in {1..50}; do
        device=$(losetup -f)
        losetup "$device" "$file" && break
        device=
        sleep 0.1
    done
    [ -n "$device" ] || exit 1
    xenstore-write "$XENBUS_PATH/node" "$device" \
        "$XENBUS_PATH/physical-device" "$(stat -c '%t:%T' "$device")" \
        "$XENBUS_PATH/physical-device-path" "$device" \
        "$XENBUS_PATH/hotplug-status" connected
    ;;
remove)
    losetup -d "$(xenstore-read "$XENBUS_PATH/node")" 2>/dev/null
    ;;
esac
exit 0
