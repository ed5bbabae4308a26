#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdswapctl reload-worker under full load, again and again, from one binary to another: every connection goes on in the new worker, no request
# fails, no page is wrong.  And one that is upgraded while it is killed.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/engine/resume.sh"
requires_resume

upgrades=8
[ -z "${NBDSWAP_LONG:-}" ] || upgrades=400
mkdir "$tmp/bin"
program=$tmp/bin/nbdswap-engine
new_binary() {
    cp "$builddir/server/nbdswap-engine" "$program.new"
    mv "$program.new" "$program"
}
new_binary
exports=(plain checked)
lines=('[export plain]' 'check = none' '[export checked]')
could_swap || {
    exports+=(sealed)
    lines+=('[export sealed]' 'seal = aes-256-gcm')
}
resume_conf "${lines[@]}"
sed -i "s|^native = .*|native = $program|" "$conf"
start_server
for name in "${exports[@]}"; do wait_until 60 export_is "$name" ready; done
for name in "${exports[@]}"; do start_check "$name" --connections 2 --pages 1024; done
connections=$((2 * ${#exports[@]}))
all_there() { [ "$(field '[.exports[].sessions]|add')" = "$connections" ]; }
wait_until 30 all_there

find_worker
for ((n = 1; n <= upgrades; n++)); do
    before=$worker
    new_binary
    said=$(ctl reload-worker --wait) || fail "upgrade $n: $said"
    must_match "$said" "^worker [0-9]+ \(native\) serves; $connections sessions went on after [0-9]+ ms, 0 were cut$"
    find_worker
    [ "$worker" != "$before" ] || fail "the worker is the one of before"
    [ "/proc/$worker/exe" -ef "$program" ] || fail "the worker is not the new binary"
    echo "$said"
    check_runs
    rest $((RANDOM % 300))
done

# Killed on its way: the upgrade is through all the same, or says why not.
for ((n = 0; n < 3; n++)); do
    rest 1100
    new_binary
    ctl reload-worker --wait >"$tmp/upgrade" 2>&1 &
    pid=$!
    rest $((RANDOM % 60))
    find_worker
    kill -KILL "$worker" 2>/dev/null || true
    wait "$pid" || must_match "$(cat "$tmp/upgrade")" 'did not come into service'
    wait_until 30 worker_ready
    wait_until 30 all_there
    find_worker
    [ "/proc/$worker/exe" -ef "$program" ] || fail "the worker is not the new binary"
    check_runs
done
for name in "${exports[@]}"; do end_check "$name"; done
if grep ' is cut: ' "$log"; then fail "sessions were cut"; fi
