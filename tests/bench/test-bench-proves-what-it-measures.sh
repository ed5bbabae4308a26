# SPDX-License-Identifier: BSD-3-Clause
# The bench's machinery in a short run, and that each of its proofs refuses what it is there to refuse.  No figure is judged.
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1
no_sanitizers "figures of time"
requires jq --version
requires nbdcopy --version
requires sh -c 'fio --enghelp | grep -w nbd'
benchdir=$srcdir/tests/bench
. "$benchdir/servers.sh"
. "$benchdir/prove.sh"
requires test -x "$builddir/server/nbdswap-engine"

# ---- a run ----
mkdir "$tmp/out"
BENCH_DIR=$tmp/out BENCH_TIME=0.1 BENCH_ROUNDS=2 BENCH_SIZE=64 BENCH_MEMORY=0 BENCH_TRANSPORTS=unix BENCH_SERVERS="engine-plain plain null@4 no-such storage" \
    BENCH_LOADS="randwrite-4k-d1 swap-mix-d16 discarded-read-4k-d32" bash "$benchdir/bench.sh" >"$tmp/said" 2>&1 ||
    { [ $? = 77 ] && skip "$(grep SKIP "$tmp/said")"; fail "the bench: $(tail -n 20 "$tmp/said")"; }
jq -e '
    ([.results[] | "\(.load) \(.transport) \(.server)"] | sort) as $rows
    | $rows == ([("engine-plain", "plain", "null@4") as $s | ("randwrite-4k-d1", "swap-mix-d16", "discarded-read-4k-d32") | "\(.) unix \($s)"]
                + ["randwrite-4k-d1 file storage", "swap-mix-d16 file storage"] | sort)
      and all(.results[]; .iops.min > 0 and .iops.min <= .iops.median and .iops.median <= .iops.max and (.runs | length) == 2
                          and .p50_us.median > 0 and .p50_us.median <= .p99_us.max)
      # What answers from memory did no I/O, and what wrote did as much as it was asked for.
      and all(.results[] | select(.server == "null@4" or (.load | startswith("discarded"))); .device_bytes_per_byte == 0)
      and all(.results[] | select((.server | endswith("plain")) and .load == "randwrite-4k-d1"); .device_bytes_per_byte > 0.97 and .device_bytes_per_byte < 1.1)
      and .skipped == [{server: "no-such", why: .skipped[0].why}]' "$tmp/out/bench.json" >/dev/null ||
    fail "the results are not what was asked for: $(jq -c '.results[], .skipped' "$tmp/out/bench.json")"
must_match "$(cat "$tmp/out/bench.txt")" '^  plain +[0-9.]+k? ' "a row of the table"
if command -v gnuplot >/dev/null; then
    must_match "$(cat "$tmp/out/bench-random.svg")" '^</svg>' "the figure"
fi

# ---- the proofs ----
size=64M threads=4 data=$disk/data
head -c "$size" /dev/urandom >"$data"
sealed=engine-sealed
if swap_is_on; then sealed=; fi # refused there
for s in engine-plain $sealed plain file null; do start_server "$s" unix || fail "$s does not start: $(cat "$log")"; done
refuses() { # REGEX COMMAND...
    local want=$1 said
    shift
    if said=$("$@"); then fail "accepted: $*"; fi
    must_match "$said" "$want" "what $* says"
}
accepts() {
    local said
    said=$("$@") || fail "refused: $*: $said"
}
plain=${pid_of[plain/unix]} cached=${pid_of[file/unix]} none=${pid_of[null/unix]} engine=${pid_of[engine-plain/unix]}
accepts prove_listener "$plain" "${uri_of[plain/unix]}"
refuses "does not listen" prove_listener "$none" "${uri_of[plain/unix]}"
start_server null tcp || fail "null does not start: $(cat "$log")"
accepts prove_listener "${pid_of[null/tcp]}" "${uri_of[null/tcp]}"
refuses "does not listen" prove_listener "$plain" "${uri_of[null/tcp]}"

# What moves the pages of an engine's row is not the process that was started.
[ "$engine" != "${job_of[engine-plain/unix]}" ] || fail "nbdswapd itself is taken for its engine"
accepts prove_listener "$engine" "${uri_of[engine-plain/unix]}"
refuses "does not listen" prove_listener "$engine" "${uri_of[plain/unix]}"
accepts prove_program "$engine" engine-plain
refuses "and not engine-plain" prove_program "${job_of[engine-plain/unix]}" engine-plain
refuses "and not engine-plain" prove_program "$plain" engine-plain
accepts prove_direct "$engine" "${file_of[engine-plain/unix]}"
accepts prove_program "$plain" plain
refuses "has not loaded" prove_program "$none" plain
refuses "and not qemu-native" prove_program "$none" qemu-native

accepts prove_direct "$plain" "${file_of[plain/unix]}"
exec 7<"${file_of[file/unix]}"
refuses "no descriptor" prove_direct "$cached" "${file_of[file/unix]}"
refuses "no descriptor" prove_direct $$ "${file_of[file/unix]}"
exec 7<&-

accepts prove_fill "${uri_of[plain/unix]}" "${file_of[plain/unix]}" plain
accepts prove_fill "${uri_of[file/unix]}" "${file_of[file/unix]}" file
accepts prove_fill "${uri_of[engine-plain/unix]}" "${file_of[engine-plain/unix]}" engine-plain
if [ -n "$sealed" ]; then accepts prove_fill "${uri_of[engine-sealed/unix]}" "${file_of[engine-sealed/unix]}" engine-sealed; fi
refuses "is not sealed" prove_fill "${uri_of[engine-plain/unix]}" "${file_of[engine-plain/unix]}" engine-sealed
refuses "is not what is read" prove_fill "${uri_of[null/unix]}" "" file
refuses "is not sealed" prove_fill "${uri_of[plain/unix]}" "${file_of[plain/unix]}" sealed
# Another file than the one that the server writes.
head -c "$size" /dev/zero >"$disk/other"
refuses "does not hold" prove_fill "${uri_of[plain/unix]}" "$disk/other" plain

accepts prove_io direct 1000000 1000000
refuses "only 0 bytes" prove_io direct 0 1000000
refuses "only 900000 bytes" prove_io direct 900000 1000000
accepts prove_io none 4096 1000000
accepts prove_io records 4096 1000000
refuses "no device I/O" prove_io records 0 1000000
refuses "should be none" prove_io none 1000000 1000000
# The I/O of a thread that waits, and that of io_uring, are counted alike.
for s in plain engine-plain; do
    before=$(device_bytes "${pid_of[$s/unix]}")
    nbdcopy --flush "$data" "${uri_of[$s/unix]}"
    accepts prove_io direct $(($(device_bytes "${pid_of[$s/unix]}") - before)) $((64 << 20))
done

# ---- what is locked ----
. "$benchdir/memory.sh"
if [ "$(id -u)" = 0 ]; then
    end_process "${job_of[engine-plain/unix]}"
    measure_engine_memory engine-plain
    jq -e '.idle_kib > 1024 and .client_kib > 100' "$tmp/memory" >/dev/null || fail "what the engine locks: $(cat "$tmp/memory")"
fi
