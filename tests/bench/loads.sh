# SPDX-License-Identifier: BSD-3-Clause
# What the servers are asked to do, and one measurement of it.  Sourced after servers.sh and prove.sh.
# shellcheck shell=bash disable=SC2034,SC2154

# NAME:RW:DEPTH:CONNECTIONS:PAGES:FIO OPTIONS (which may hold colons).  PAGES: "data" pages are all different and lie in the first part of the export; the others
# lie in its last part, which is only for them: "zero" and "same" (one value all over) are written or read so, "discarded" were trimmed.
all_loads=(
    "randwrite-4k-d1:randwrite:1:1:data:--bs=4k"
    "randread-4k-d1:randread:1:1:data:--bs=4k"
    "randwrite-4k-d8:randwrite:8:1:data:--bs=4k"
    "randread-4k-d8:randread:8:1:data:--bs=4k"
    "randwrite-4k-d32:randwrite:32:1:data:--bs=4k"
    "randread-4k-d32:randread:32:1:data:--bs=4k"
    "randwrite-4k-4x16:randwrite:16:4:data:--bs=4k"
    "randread-4k-4x16:randread:16:4:data:--bs=4k"
    "write-32k-d8:write:8:1:data:--bs=32k"
    "read-32k-d8:read:8:1:data:--bs=32k"
    "write-128k-d8:write:8:1:data:--bs=128k"
    "read-128k-d8:read:8:1:data:--bs=128k"
    # As a kernel was seen to swap: reads of one page or of the 8 of a read-ahead, writes of a page or of a cluster.
    "swap-mix-d16:randrw:16:1:data:--rwmixread=50 --bssplit=4k/25:32k/75,4k/50:32k/10:128k/40"
    "zero-write-4k-d32:randwrite:32:1:zero:--bs=4k"
    "same-write-4k-d32:randwrite:32:1:same:--bs=4k"
    "same-read-4k-d32:randread:32:1:same:--bs=4k"
    "discarded-read-4k-d32:randread:32:1:discarded:--bs=4k"
)

# A client of the servers under test: verified elsewhere, so no checking here that would take the time that is measured.
fio_run() { # LOAD TARGET-OPTION...: leaves fio's JSON in $tmp/fio.json; 1 with its words in $log
    local name rw depth conns pages extra region
    IFS=: read -r name rw depth conns pages extra <<<"$1"
    shift
    region=(--offset=0 "--size=$data_bytes")
    [ "$pages" = data ] || region=("--offset=$data_bytes" "--size=$one_value_bytes")
    case $pages in
    zero) region+=(--zero_buffers --scramble_buffers=0) ;;
    same) region+=(--buffer_pattern=0x5a --scramble_buffers=0) ;;
    esac
    # shellcheck disable=SC2086 # $extra is several options
    timeout $((milliseconds / 1000 * 4 + 60)) fio --name=bench --rw="$rw" --iodepth="$depth" --numjobs="$conns" --thread --group_reporting \
        --time_based --runtime="${milliseconds}ms" --norandommap --randrepeat=0 "${region[@]}" $extra \
        --percentile_list=50:99:99.9 --output-format=json --output="$tmp/fio.json" "$@" >>"$log" 2>&1
}

cpu_ticks() { # PID: user and system time, ended children included
    # The name in parentheses may hold anything.
    sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 + $14 + $15 }'
}

# prepare LOAD URI: pages as the load wants to find them.
prepare() {
    case $1 in
    same-read*)
        fio --name=fill --ioengine=nbd --uri="$2" --rw=write --bs=128k --iodepth=8 "--offset=$data_bytes" "--size=$one_value_bytes" \
            --buffer_pattern=0x5a --scramble_buffers=0
        ;;
    discarded-read*) "$nbdcmd" "$2" trim "$data_bytes" "$one_value_bytes" ;;
    esac >>"$log" 2>&1
}

# has_children PID: nbd-server has one for each client, and the kernel adds what they used when they are gone.
children_gone() {
    [ -z "$(cat "/proc/$1/task/$1/children" 2>/dev/null)" ]
}

# measure LOAD NAME TRANSPORT ROUND: adds one line of JSON to $tmp/runs.  A measurement that is not what it says fails the bench.
measure() {
    local load=$1 server=$2 transport=$3 round=$4 base=${2%@*} name rw depth conns pages extra pid=0 cpu=0 moved=0 how said n
    IFS=: read -r name rw depth conns pages extra <<<"$load"
    how=$(io_of "$base")
    if [ "$base" = storage ]; then
        fio_run "$load" --ioengine=io_uring --direct=1 --filename="$storage_file" || fail "fio on the file: $(tail -n 5 "$log")"
    else
        pid=${pid_of[$server/$transport]}
        prepare "$name" "${uri_of[$server/$transport]}" || fail "$server: cannot prepare $name: $(tail -n 5 "$log")"
        wait_until 20 children_gone "$pid"
        cpu=$(cpu_ticks "$pid") moved=$(device_bytes "$pid")
        fio_run "$load" --ioengine=nbd --uri="${uri_of[$server/$transport]}" ||
            fail "fio, $name on $server: $(tail -n 5 "$log")"
        wait_until 20 children_gone "$pid"
        kill -0 "$pid" 2>/dev/null || fail "$server has ended: $(tail -n 5 "$log")"
        cpu=$(($(cpu_ticks "$pid") - cpu)) n=$(device_bytes "$pid")
        moved=$((n < 0 ? -1 : n - moved))
    fi
    # Pages that nbdswap answers from its table, or null altogether, must cost no I/O.
    if is_ours "$base" && [ "$pages" != data ]; then how=none; fi
    if [ "${base#engine-}" = host ] && [ "$how" = none ] && [[ $rw = *write ]]; then how=records; fi
    # What libnbd says comes first.  Not by a process substitution: bash remembers the process numbers of those, and was seen to wait for ever in
    # a long run, once the numbers had come round.
    sed -n '/^{/,$p' "$tmp/fio.json" >"$tmp/fio.object"
    jq -ce --arg load "$name" --arg server "$server" --arg transport "$transport" --argjson round "$round" --argjson cpu "$cpu" \
        --argjson moved "$moved" --arg rw "$rw" '
        (.jobs | if length == 1 and .[0].error == 0 then .[0] else error("fio reports an error") end) as $j
        | ($j.read.total_ios + $j.write.total_ios) as $ops
        # A process waits for reads: where there are any, the latency is theirs.
        | (if $j.read.total_ios > 0 then $j.read else $j.write end).clat_ns.percentile as $p
        | {$load, $server, $transport, $round, iops: ($j.read.iops + $j.write.iops),
           mib_s: (($j.read.bw_bytes + $j.write.bw_bytes) / 1048576),
           p50_us: ($p["50.000000"] / 1000), p99_us: ($p["99.000000"] / 1000), p999_us: ($p["99.900000"] / 1000),
           ops: $ops, bytes: ($j.read.io_bytes + $j.write.io_bytes), cpu_ticks: $cpu, device_bytes: $moved}' \
        "$tmp/fio.object" >"$tmp/run" || fail "$server, $name: fio's figures cannot be read: $(head -c 500 "$tmp/fio.json")"
    if [ "$base" != storage ]; then
        said=$(prove_io "$how" "$moved" "$(jq .bytes "$tmp/run")") || fail "$server, $name over $transport: $said"
    fi
    cat "$tmp/run" >>"$tmp/runs"
    # What a page cache has taken is written back now, not while the next server is measured.
    if [ "$how" = cached ]; then sync "${file_of[$server/$transport]}"; fi
}
