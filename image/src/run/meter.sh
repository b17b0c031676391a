# How much CPU time a domain takes, to be put before a script that runs in dom0. `xl list` tells
# tenths of a second; xentop's share of each interval is a hundred times finer.

# meter_start DOMAIN: from now on.
meter_start() {
    metered=$1
    rm -f /tmp/meter.pipe /tmp/meter
    mkfifo /tmp/meter.pipe
    while read -r line; do
        printf '%s %s\n' "$EPOCHREALTIME" "$line"
    done </tmp/meter.pipe >/tmp/meter &
    xentop --batch --full-name --delay=2 >/tmp/meter.pipe &
    meter=$!
    until meter_after 0; do sleep 0.05; done
}

# Whether xentop has told about the domain after a time.
meter_after() {
    awk -v name="$metered" -v time="$1" \
        '$2 == name && $1 > time { found = 1 } END { exit !found }' /tmp/meter
}

# meter_end: prints the microseconds since meter_start, to the end of the interval that is going on.
meter_end() {
    local end=$EPOCHREALTIME
    until meter_after "$end"; do sleep 0.2; done
    kill "$meter"
    # The first line only begins; each other one is about the time since the one before.
    awk -v name="$metered" \
        '$2 == name { if (n++) sum += ($1 - last) * $5 * 10000; last = $1 } END { printf "%d\n", sum }' \
        /tmp/meter
}
