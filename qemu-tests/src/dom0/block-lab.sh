#!/bin/bash
# libxl's hotplug script for a disk that is a file: a loop device for it.
export PATH=/usr/sbin:/usr/bin:/usr/lib/busybox
case "$1" in
add)
    file=$(xenstore-read "$XENBUS_PATH/params")
    device=$(losetup -f)
    losetup "$device" "$file" || exit 1
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
