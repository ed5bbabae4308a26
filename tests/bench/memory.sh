# SPDX-License-Identifier: BSD-3-Clause
# What the plugin locks: idle, more for each connection under load, more for each GiB.
# shellcheck shell=bash disable=SC2154

# KiB resident in locked mappings.  Locked of smaps_rollup is the same, but counts what other processes map too only in part: it would
# change with whatever nbdkit else runs.
locked_kib() {
    awk '/^Rss:/ { rss = $2 } /^VmFlags:.* lo( |$)/ { sum += rss } END { print sum + 0 }' "/proc/$pid/smaps"
}

# measure_memory BASE: adds a line of JSON to $tmp/memory.
measure_memory() {
    local base=$1 idle busy large load connections=4 arguments=() go
    case $base in
    plain) if plugin_knows check; then arguments=(check=none); fi ;;
    sealed) arguments=(seal=aes-256-gcm key=ephemeral) ;;
    esac
    NBDKIT_OPTIONS=(-t "$threads")
    start_nbdkit file="$disk/memory-$base" size=64M "${arguments[@]}"
    idle=$(locked_kib)
    rm -f "$tmp/go"
    mkfifo "$tmp/go"
    timeout 300 "$nbdload" "$uri" $connections 16 4000x32 4000 pause <"$tmp/go" >"$tmp/said" 2>>"$log" &
    load=$!
    exec {go}>"$tmp/go"
    wait_until 200 grep -q paused "$tmp/said"
    busy=$(locked_kib)
    echo >&"$go"
    exec {go}>&-
    wait "$load" || fail "the load of the memory rows: $(tail -n 3 "$log")"
    stop_nbdkit
    start_nbdkit file="$disk/memory-$base-large" size=1088M "${arguments[@]}"
    large=$(locked_kib)
    stop_nbdkit
    rm -f "$disk/memory-$base" "$disk/memory-$base-large"
    printf '{"server":"%s","threads":%d,"idle_kib":%d,"connection_kib":%d,"gib_kib":%d}\n' "$base" "$threads" "$idle" \
        $(((busy - idle) / connections)) $((large - idle)) >>"$tmp/memory"
}
