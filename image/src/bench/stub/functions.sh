export LC_ALL=C
set -e
# Opens the first serial port of a guest as descriptor 3.
open_serial() {
    local domain stub tty
    domain=$(xl domid "$1")
    tty=/local/domain/$domain/serial/0/tty
    if stub=$(xl domid "$1-dm" 2>/dev/null); then
        tty=/local/domain/$stub/device/console/3/tty
    fi
    exec 3<>"$(xenstore-read "$tty")"
    stty raw -echo <&3
}
# Waits for a line with that in it. bash alone does it: each process costs a tenth of a second here.
until_says() {
    local line
    while IFS= read -r -t 600 line <&3; do
        case $line in *"$1"*) return 0 ;; esac
    done
    echo "the guest does not say: $1" >&2
    return 1
}
# KiB of memory of all device models in dom0, and of the helper's processes: what several share counts once.
resident() {
    local name key value process total=0
    for process in /proc/[0-9]*; do
        read -r name <"$process/comm"
        case $name in
        *qemu-system* | xen-image-stubd*)
            while read -r key value _; do
                case $key in
                Pss:) total=$((total + value)) ;;
                esac
            done <"$process/smaps_rollup"
            ;;
        esac
    done 2>/dev/null
    echo "$total"
}
