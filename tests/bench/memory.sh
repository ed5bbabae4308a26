# SPDX-License-Identifier: BSD-3-Clause
# What is locked.  The plugin: idle, more for each connection under load, more for each GiB.  The engine: idle, more for each idle client, beside the page
# tables and the pool, whose sizes are the configuration's.
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

# engine_locked_kib PID: what it has locked beside pool and tables.  A session's memory is mapped in two views of the same pages, so of memory
# files what counts is Locked, which is in proportion; of all else it is as above.
engine_locked_kib() {
    awk '/^[0-9a-f]+-[0-9a-f]+ / { name = $6 } /^Rss:/ { rss = $2 } /^Locked:/ { locked = $2 }
        /^VmFlags:.* lo( |$)/ {
            if (name ~ /nbdswap-(pool|table)/) next
            sum += name ~ /nbdswap-session/ ? locked : rss
        } END { print sum + 0 }' "/proc/$1/smaps"
}

# measure_engine_memory BASE: adds a line of JSON to $tmp/memory.
measure_engine_memory() {
    local base=$1 key=$1/unix idle=0 busy clients=16 fds=() fd i
    start_server "$base" unix || fail "$base does not start again: $(tail -n 3 "$log")"
    wait_until 60 no_session "$key"
    idle=$(engine_locked_kib "${pid_of[$key]}")
    for ((i = 0; i < clients; i++)); do
        rm -f "$tmp/idle.$i"
        mkfifo "$tmp/idle.$i"
        qemu-io -f raw "${uri_of[$key]}" <"$tmp/idle.$i" >>"$log" 2>&1 &
        cleanup_fn end_process "$!"
        exec {fd}>"$tmp/idle.$i"
        fds+=("$fd")
    done
    wait_until 60 sessions_are "$key" "$clients"
    busy=$(engine_locked_kib "${pid_of[$key]}")
    for fd in "${fds[@]}"; do exec {fd}>&-; done
    end_process "${job_of[$key]}"
    printf '{"server":"%s","idle_kib":%d,"client_kib":%d}\n' "$base" "$idle" $(((busy - idle) / clients)) >>"$tmp/memory"
}

# sessions_are KEY N: its engine has so many, by the memory files that it has mapped.
sessions_are() {
    [ "$(awk '$3 == "00000000" && /memfd:nbdswap-session/ { n++ } END { print n + 0 }' "/proc/${pid_of[$1]}/maps")" = "$2" ]
}
no_session() {
    sessions_are "$1" 0
}
