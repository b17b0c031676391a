# 64-byte UDP packets (60 and the checksum of the wire) of one namespace's host through the domain
# in the middle to another's, made by Linux' pktgen and counted where they arrive.
#
# They come as from a network card, several at each of its interrupts, at the bridge's port of the
# sender's network: dom0 has one processor here, and a pktgen that waits less than 100 us between
# packets would spin on it, so that nobody else, not even the backends, ever runs.
export LC_ALL=C
port=5001
first_port=40000
flows=16
burst=16

# pktgen is told what to do by lines written to its files.
tell() { printf '%s\n' "$2" >"/proc/net/pktgen/$1"; }

# Packets that the counter of a namespace has seen.
counted() { ip netns exec "$1" nft list table netdev bench | awk '/counter/ { for (i = 1; i < NF; i++) if ($i == "packets") print $(i + 1) }'; }

# count NAMESPACE WHAT: counts such packets as they arrive, and takes them away from the stack.
count() {
    ip netns exec "$1" nft -f - <<END
table netdev bench {
    chain arrived {
        type filter hook ingress device "eth0" priority 0;
        $2 counter drop
    }
}
END
}

# The bridge's port to a namespace: the other end of its eth0.
port_to() {
    local index name
    index=$(ip netns exec "$1" cat /sys/class/net/eth0/iflink)
    for name in /sys/class/net/*; do
        [ "$(cat "$name/ifindex")" = "$index" ] && basename "$name" && return
    done
    echo "no port leads to $1" >&2
    return 1
}

# configure FROM FIREWALL HOST SOURCE BURSTS BURST COUNT: so many bursts a second, of so many packets;
# COUNT of these in all (0: without end).
configure() {
    local device mac
    device=$(port_to "$1") || return 1
    mac=$(ip -n "$1" neigh show "$2" dev eth0 | awk '{ for (i = 1; i < NF; i++) if ($i == "lladdr") print $(i + 1) }')
    [ -n "$mac" ] || {
        echo "nobody answers for $2" >&2
        return 1
    }
    tell kpktgend_0 rem_device_all
    tell kpktgend_0 "add_device $device"
    for setting in "xmit_mode netif_receive" "burst $6" "clone_skb 0" "pkt_size 60" "ratep $5" \
        "count $7" "src_mac $(ip netns exec "$1" cat /sys/class/net/eth0/address)" "dst_mac $mac" \
        "dst $3" "src_min $4" "src_max $4" "udp_src_min $first_port" \
        "udp_src_max $((first_port + flows))" "udp_dst_min $port" "udp_dst_max $port"; do
        tell "$device" "$setting" || {
            echo "pktgen does not take: $setting" >&2
            return 1
        }
    done
}

# open FROM TO FIREWALL HOST SOURCE: each flow gets an answer once, so that it is established.
open() {
    local from=$1 to=$2 echo
    modprobe pktgen
    for namespace in "$from" "$to"; do
        ip netns exec "$namespace" nft delete table netdev bench 2>/dev/null
    done
    ip netns exec "$from" ping -n -q -c 1 -W 5 "$4" >&2
    ip netns exec "$to" socat "UDP4-RECVFROM:$port,reuseaddr,fork" PIPE </dev/null >/dev/null 2>&1 &
    echo=$!
    until ip netns exec "$to" ss -lunH | grep -q ":$port "; do sleep 0.05; done
    count "$from" "udp sport $port"
    for _ in {1..10}; do
        knock "$from" "$3" "$4" "$5" >&2
        for _ in {1..10}; do
            [ "$(counted "$from")" -ge "$flows" ] && break 2
            sleep 0.1
        done
    done
    kill "$echo"
    answers=$(counted "$from")
    ip netns exec "$from" nft delete table netdev bench
    [ "$answers" -ge "$flows" ] || {
        echo "$answers of $flows flows were answered" >&2
        return 1
    }
    count "$to" "udp dport $port"
}

# send FROM TO FIREWALL HOST SOURCE DOMAIN RATE SECONDS: prints packets sent, the microseconds it
# took, packets that arrived, and microseconds of the domain's CPU time.
send() {
    local before after
    # Batches, caches and neighbours settle first.
    flood "$1" "$3" "$4" "$5" "$7" 1 >/dev/null
    sleep 0.5
    before=$(counted "$2")
    meter_start "$6"
    flood "$1" "$3" "$4" "$5" "$7" "$8"
    # What is still on its way arrives.
    sleep 0.5
    after=$(counted "$2")
    echo $((after - before))
    meter_end
}

# flood FROM FIREWALL HOST SOURCE RATE SECONDS
flood() {
    configure "$1" "$2" "$3" "$4" $(($5 / burst)) "$burst" 0 || return 1
    tell pgctrl start &
    sleep "$6"
    tell pgctrl stop
    wait $!
    sed -n 's/^Result: OK: \([0-9]*\)([^)]*) usec, \([0-9]*\) .*/\2 \1/p' "/proc/net/pktgen/$(port_to "$1")"
}

# knock FROM FIREWALL HOST SOURCE: one packet of each flow, no faster than the answers come.
knock() {
    configure "$1" "$2" "$3" "$4" 50 1 "$flows" && tell pgctrl start
}

"$@"
