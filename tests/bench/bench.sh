#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# make bench: the native engine and the plugin beside other NBD servers, by fio's nbd engine.  docs/PERFORMANCE.md tells the method and what was found.
#
# All servers run at once, each with a file of its own made in the same way.  For each load and transport every server is measured for a
# short time, one after the other, and that is done again in each round, beginning with another server: what disturbs the machine
# meets all of them alike.  A ratio is made of two figures of the same round, and its median over the rounds is told.
#
#   BENCH_TIME=0.5        seconds of one measurement          BENCH_ROUNDS=5       rounds
#   BENCH_QUICK=1         four minutes in place of 30: fewer loads, TCP only, fewer servers
#   BENCH_SERVERS="..."   of: engine-plain engine-checked engine-sealed engine-host plain checked sealed host qemu-native qemu-uring nbd-server file file-nocache null storage; with NAME@T an
#                         nbdkit server with -t T
#   BENCH_LOADS="..."     names as in tests/bench/loads.sh    BENCH_TRANSPORTS="unix tcp"
#   BENCH_THREADS=8       nbdkit's -t for those without @     BENCH_SIZE=512       MiB of each export
#   BENCH_MEMORY=1        locked memory too                   BENCH_DIR            where the results go (build tree)
#
# Writes bench.json, bench.txt and bench-*.svg.  Time does not decide whether it passes; I/O that is not what a row claims fails it.
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1
requires sh -c 'fio --enghelp | grep -w nbd'
requires jq --version
requires nbdcopy --version
benchdir=$srcdir/tests/bench
. "$benchdir/servers.sh"
. "$benchdir/prove.sh"
. "$benchdir/loads.sh"
. "$benchdir/memory.sh"

quick=${BENCH_QUICK:-0}
if [ "$quick" = 1 ]; then
    default_time=0.3 default_rounds=3 default_size=128 default_transports=tcp
    default_servers="engine-plain engine-checked engine-sealed engine-host checked qemu-native qemu-uring null storage"
    default_loads="randwrite-4k-d1 randread-4k-d1 randwrite-4k-d32 randread-4k-d32 randwrite-4k-4x16 randread-4k-4x16 write-128k-d8 swap-mix-d16"
    default_loads+=" same-write-4k-d32 discarded-read-4k-d32"
else
    default_time=0.5 default_rounds=5 default_size=512 default_transports="unix tcp" default_servers="$all_servers storage" default_loads=
fi
milliseconds=$(awk -v s="${BENCH_TIME:-$default_time}" 'BEGIN { printf "%d", s * 1000 }')
rounds=${BENCH_ROUNDS:-$default_rounds}
threads=${BENCH_THREADS:-8}
transports=${BENCH_TRANSPORTS:-$default_transports}
wanted=${BENCH_SERVERS:-$default_servers}
mib=${BENCH_SIZE:-$default_size}
out=${BENCH_DIR:-$builddir}
size=${mib}M
one_value_bytes=$((mib / 16 << 20))
data_bytes=$(((mib << 20) - one_value_bytes))
((milliseconds >= 50 && rounds >= 1 && mib >= 64)) || fail "BENCH_TIME is at least 0.05, BENCH_ROUNDS at least 1, BENCH_SIZE at least 64"
# Direct I/O is what this is about.
data=$disk/data
head -c "$size" /dev/urandom >"$data"
dd if="$data" of="$disk/probe" bs=4k count=1 oflag=direct status=none 2>/dev/null ||
    skip "needs: a build tree on a file system with direct I/O (O_DIRECT)"

loads=()
for l in "${all_loads[@]}"; do
    case " ${BENCH_LOADS:-${default_loads:-${l%%:*}}} " in *" ${l%%:*} "*) loads+=("$l") ;; esac
done
[ ${#loads[@]} -gt 0 ] || fail "no such load: $BENCH_LOADS"

# Every server, proved before anything is measured.
servers=()
: >"$tmp/skipped"
skip_server() { # NAME WHY
    jq -nc --arg server "$1" --arg why "$2" '{$server, $why}' >>"$tmp/skipped"
    echo "skipped $1: $2"
}
for name in $wanted; do
    [ "$name" != storage ] || continue
    why=$(why_not "${name%@*}")
    if [ -n "$why" ]; then
        skip_server "$name" "$why"
        continue
    fi
    for transport in $transports; do
        : >"$tmp/words"
        log=$tmp/words
        if ! start_server "$name" "$transport"; then
            case ${name%@*} in
            engine-* | plain | checked | sealed | host | null | file*) fail "$name does not start: $(tail -n 3 "$log")" ;;
            esac
            why=$(tail -n 2 "$log" | tr '\n' ' ')
            skip_server "$name" "does not start here: $why"
            continue 2
        fi
        key=$name/$transport
        said=$(prove_listener "${pid_of[$key]}" "${uri_of[$key]}") || fail "$name: $said"
        said=$(prove_program "${pid_of[$key]}" "${name%@*}") || fail "$name: $said"
        said=$(prove_fill "${uri_of[$key]}" "${file_of[$key]}" "${name%@*}") || fail "$name: $said"
        if [ "$(io_of "${name%@*}")" = direct ]; then
            # qemu-nbd opens it at once, the plugin too.
            said=$(prove_direct "${pid_of[$key]}" "${file_of[$key]}") || fail "$name: $said"
        fi
    done
    servers+=("$name")
done
log=$tmp/log
: >"$log"
storage=
case " $wanted " in *" storage "*)
    storage=1
    storage_file=$disk/storage
    make_file "$storage_file"
    ;;
esac
[ ${#servers[@]} -gt 0 ] || skip "none of these servers can run here: $wanted"

: >"$tmp/runs"
load_before=$(cut -d' ' -f1-3 /proc/loadavg)
started=$(date -u +%Y-%m-%dT%H:%M:%SZ)
for ((r = 0; r < rounds; r++)); do
    echo "round $((r + 1)) of $rounds (load $(cut -d' ' -f1 /proc/loadavg))"
    for load in "${loads[@]}"; do
        pages=$(cut -d: -f5 <<<"$load")
        for transport in $transports; do
            for ((i = 0; i < ${#servers[@]}; i++)); do
                s=${servers[(i + r) % ${#servers[@]}]}
                # Pages of one value: what is asked is how near the table comes to no storage at all.
                if [ "$pages" = data ] || [ "${s%@*}" = null ] || is_ours "${s%@*}"; then measure "$load" "$s" "$transport" "$r"; fi
            done
        done
        if [ -n "$storage" ] && [ "$pages" = data ]; then measure "$load" storage file "$r"; fi
    done
done
load_after=$(cut -d' ' -f1-3 /proc/loadavg)

# The servers make room before memory is counted.
for key in "${!job_of[@]}"; do end_process "${job_of[$key]}"; done
: >"$tmp/memory"
if [ "${BENCH_MEMORY:-1}" = 1 ] && [ "$(id -u)" = 0 ] && [ -z "$sanitized" ]; then
    for base in plain checked sealed; do
        case " ${servers[*]%@*} " in *" $base "*) measure_memory "$base" ;; esac
    done
    for base in engine-plain engine-checked engine-sealed; do
        case " ${servers[*]} " in *" $base "*) measure_engine_memory "$base" ;; esac
    done
fi

version_of() {
    case $1 in
    qemu) qemu-nbd --version 2>/dev/null | sed -n '1s/qemu-nbd //p' ;;
    nbd-server) "$(find_nbd_server)" -V 2>&1 | sed -n 's/This is nbd-server version //p' ;;
    esac || true
}
jq -n --arg started "$started" --arg nbdswap "$VERSION" --arg nbdkit "$("$nbdkit" --version | sed 's/nbdkit //')" \
    --arg qemu "$(version_of qemu)" --arg nbd_server "$(version_of nbd-server)" --arg fio "$(fio --version)" \
    --arg kernel "$(uname -r)" --arg cpu "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" --argjson cpus "$(nproc)" \
    --argjson ram_mib "$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)" --arg fs "$(stat -f -c %T "$disk")" \
    --arg load_before "$load_before" --arg load_after "$load_after" --argjson ms "$milliseconds" --argjson rounds "$rounds" \
    --argjson threads "$threads" --argjson mib "$mib" --argjson tick "$(getconf CLK_TCK)" '
    {$started, machine: {$cpu, $cpus, $ram_mib, $kernel, file_system: $fs, $load_before, $load_after},
     versions: {$nbdswap, $nbdkit, qemu_nbd: $qemu, $nbd_server, $fio},
     settings: {measurement_ms: $ms, $rounds, $threads, export_mib: $mib, ticks_per_second: $tick}}' >"$tmp/about"
order=$(printf '%s\n' "${servers[@]}" ${storage:+storage} | jq -R . | jq -sc .)
jq -n --slurpfile about "$tmp/about" --slurpfile runs "$tmp/runs" --slurpfile memory "$tmp/memory" --slurpfile skipped "$tmp/skipped" \
    --argjson order "$order" -f "$benchdir/results.jq" >"$out/bench.json"
jq -r -f "$benchdir/table.jq" "$out/bench.json" >"$out/bench.txt"
{
    echo
    for s in "${servers[@]}" ${storage:+storage}; do printf '%-14s %s\n' "$s" "$(describe "${s%@*}")"; done
} >>"$out/bench.txt"
cat "$out/bench.txt"
if command -v gnuplot >/dev/null; then
    . "$benchdir/plot.sh"
    plot_all "$out"
else
    echo "no figures: gnuplot is not installed (Debian: gnuplot-nox)"
fi
echo "written: $out/bench.json, bench.txt, bench-*.svg"
