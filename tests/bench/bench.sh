#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# make bench: the plugin, the ceiling of nbdkit itself (null) and qemu-nbd, by fio's nbd engine over a Unix socket and over TCP on the
# loopback.  The servers take turns within each round, so that a busy moment of the machine meets all of them.  Then: what is locked.
# Prints medians in operations a second and their ratio to the first server; the same goes to bench.json in the build tree.
#
# BENCH_SECONDS (2) per measurement, BENCH_ROUNDS (3), BENCH_THREADS ("8"; "1 4 8 16" compares them), BENCH_TRANSPORTS ("unix tcp"),
# BENCH_JSON (the file), BENCH_JOBS (as in the list below).
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1
requires sh -c 'fio --enghelp | grep -w nbd'
seconds=${BENCH_SECONDS:-2}
rounds=${BENCH_ROUNDS:-3}
threads=${BENCH_THREADS:-8}
transports=${BENCH_TRANSPORTS:-unix tcp}
json=${BENCH_JSON:-$builddir/bench.json}
size=512M

# name, fio's rw, block size, depth, connections
all_jobs=(
    randwrite-4k-d1:randwrite:4k:1:1
    randread-4k-d1:randread:4k:1:1
    randwrite-4k-d32:randwrite:4k:32:1
    randread-4k-d32:randread:4k:32:1
    randwrite-4k-4x16:randwrite:4k:16:4
    write-128k-d8:write:128k:8:1
)
jobs=()
for j in "${all_jobs[@]}"; do
    case " ${BENCH_JOBS:-${j%%:*}} " in *" ${j%%:*} "*) jobs+=("$j") ;; esac
done

declare -A uri_of
servers=()
# serve NAME TRANSPORT KIND COMMAND ARG...: options for the address, of its kind, go in front of the arguments.
serve() {
    local name=$1 transport=$2 kind=$3 port=0 try
    shift 3
    for ((try = 0; try < 20; try++)); do
        local options=()
        port=$((20000 + RANDOM % 10000))
        case $kind/$transport in
        nbdkit/unix) options=(-U "$disk/$name.sock") ;;
        nbdkit/tcp) options=(-i 127.0.0.1 -p "$port") ;;
        qemu/unix) options=(-k "$disk/$name.sock") ;;
        qemu/tcp) options=(-b 127.0.0.1 -p "$port") ;;
        esac
        "$1" "${options[@]}" "${@:2}" >>"$log" 2>&1 &
        job=$!
        uri_of[$name/$transport]="nbd://127.0.0.1:$port"
        [ "$transport" = tcp ] || uri_of[$name/$transport]="nbd+unix:///?socket=$disk/$name.sock"
        # A port that is taken ends it at once.
        for ((n = 0; n < 600; n++)); do
            kill -0 "$job" 2>/dev/null || continue 2
            nbdinfo --size "${uri_of[$name/$transport]}" >/dev/null 2>&1 && break
            sleep 0.05
        done
        cleanup_fn end_process "$job"
        return
    done
    fail "$name does not start: $(tail -n 3 "$log")"
}
each() { # NAME KIND COMMAND...
    local transport name=$1
    servers+=("$name")
    for transport in $transports; do serve "$name" "$transport" "${@:2}"; done
}
# Every server of a file has one of its own for each transport.
for t in $threads; do
    servers+=("nbdswap-t$t")
    for transport in $transports; do
        serve "nbdswap-t$t" "$transport" nbdkit "$nbdkit" -f -t "$t" "$plugin" file="$disk/swap-$t-$transport" size=$size \
            "allow=$allow"
    done
done
each nbdkit-null nbdkit "$nbdkit" -f null size=$size
if command -v qemu-nbd >/dev/null; then
    servers+=(qemu-nbd)
    for transport in $transports; do
        head -c $size /dev/urandom >"$disk/qemu-$transport"
        serve qemu-nbd "$transport" qemu qemu-nbd -t -e 16 -f raw --cache=none --aio=native "$disk/qemu-$transport"
    done
fi

measure() { # URI RW BS DEPTH CONNECTIONS -> operations a second
    timeout $((seconds * 4 + 30)) fio --name=b --ioengine=nbd --uri="$1" --rw="$2" --bs="$3" --iodepth="$4" --numjobs="$5" \
        --thread --group_reporting --size=$size --time_based --runtime="$seconds" --norandommap --randrepeat=0 \
        --output-format=terse --terse-version=3 >"$tmp/fio" 2>>"$log" || fail "fio: $(cat "$tmp/fio")"
    awk -F';' '/^3;/ { print $8 + $49 }' "$tmp/fio"
}
for ((r = 0; r < rounds; r++)); do
    for j in "${jobs[@]}"; do
        IFS=: read -r name rw bs depth conns <<<"$j"
        for transport in $transports; do
            for s in "${servers[@]}"; do
                # Pages that were never written are read without I/O: a reader gets written ones.
                if [ "$r" = 0 ] && [ "${j}" = "${jobs[0]}" ] && [[ $s = nbdswap* ]]; then
                    head -c $size /dev/urandom | nbdcopy -- - "${uri_of[$s/$transport]}"
                fi
                measure "${uri_of[$s/$transport]}" "$rw" "$bs" "$depth" "$conns" >>"$tmp/$name.$transport.$s"
            done
        done
    done
done

median() {
    sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}
printf '%-20s %-5s' "operations a second" ""
printf ' %18s' "${servers[@]}"
echo
results=
for j in "${jobs[@]}"; do
    name=${j%%:*}
    for transport in $transports; do
        printf '%-20s %-5s' "$name" "$transport"
        first=$(median "$tmp/$name.$transport.${servers[0]}")
        for s in "${servers[@]}"; do
            m=$(median "$tmp/$name.$transport.$s")
            printf ' %18s' "$m ($(awk "BEGIN { printf \"%.2f\", $m / ($first ? $first : 1) }"))"
            results+=$(printf '%s{"job":"%s","transport":"%s","server":"%s","median":%s,"runs":[%s]}' "${results:+,}" "$name" \
                "$transport" "$s" "$m" "$(paste -sd, "$tmp/$name.$transport.$s")")
        done
        echo
    done
done

# Locked memory, with the first thread count.
rollup() {
    sed -n "s/^Locked: *\([0-9]*\) kB/\1/p" "/proc/$pid/smaps_rollup"
}
read -r t _ <<<"$threads"
NBDKIT_OPTIONS=(-t "$t")
start_nbdkit file="$disk/k.swap" size=64M
idle=$(rollup)
mkfifo "$tmp/go"
"$nbdload" "$uri" 4 16 4000x32 4000 pause <"$tmp/go" >"$tmp/said" &
load=$!
exec 5>"$tmp/go"
wait_until 120 grep -q paused "$tmp/said"
connection=$((($(rollup) - idle) / 4))
echo >&5
wait "$load"
stop_nbdkit
start_nbdkit file="$disk/g.swap" size=1088M
gib=$(($(rollup) - idle))
stop_nbdkit
printf '\n%-40s %8s %8s\n' "locked memory, KiB (nbdkit -t $t)" is limit
printf '%-40s %8d %8d\n' "idle" "$idle" 32768 "more per connection under load" "$connection" 4096 "more per GiB" "$gib" 4096
printf '{"seconds":%s,"rounds":%s,"results":[%s],"locked_kib":{"threads":%s,"idle":%s,"connection":%s,"gib":%s}}\n' "$seconds" \
    "$rounds" "$results" "$t" "$idle" "$connection" "$gib" >"$json"
echo "written: $json"
