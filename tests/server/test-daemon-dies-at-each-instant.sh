#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The daemon dies before and after each step by which it leaves something to its successor or tells its worker something, while clients come
# and go, workers die and are replaced, exports come and go, and while a successor is about to take over.  Whatever the instant: never two workers, a
# new client gets in, nobody's connection ends, and no page is wrong.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/successor.sh"
requires_worker
requires_backing
most=${NBDSWAP_INSTANTS:-4}
step=5
[ -z "${NBDSWAP_LONG:-}" ] || most=36 step=1

export NBDSWAP_DIE_FILE=$tmp/die
: >"$tmp/die.done"
nbdswapd=$builddir/tests/server/nbdswapd-dies
resume_conf '[export plain]' 'check = none' '[export checked]' '[export third]' '[export idle]'
cp "$conf" "$tmp/without.conf"
start_server
port=$(port)
for name in plain checked; do
    wait_until 60 export_is "$name" ready
    start_check "$name" --connections 2 --depth 16 --pages 512
done
wait_until 60 export_is third ready
wait_until 60 export_is idle ready
four() { [ "$(field '.sessions|length')" = 4 ]; }
wait_until 60 four

newcomer() {
    out=$(timeout 60 "$nbdcheck" --port "$port" --export third --connections 1 --depth 8 --operations 50 2>&1) || fail "$where: a new client: $out"
}
new_worker() {
    local pid
    [ "$ENGINE" = native ] || return 0 # others' sessions end with it
    for pid in $(ours nbdswap-engine); do kill -KILL "$pid" 2>/dev/null || true; done
}
reload_worker() { [ "$ENGINE" != native ] || ctl reload-worker >"$tmp/out" 2>&1 || true; }
rewrite() { ctl activate --rewrite idle >"$tmp/out" 2>&1 || true; }
come_and_go() {
    printf '[export more]\n' >>"$conf"
    ctl reload >"$tmp/out" 2>&1 || true
    cp "$tmp/without.conf" "$conf"
    ctl reload >"$tmp/out" 2>&1 || true
}
again() { kill_daemon; }
died() { [ ! -e "$NBDSWAP_DIE_FILE" ]; }

at=1
for ((n = 1; n <= most; n++)); do
    for what in newcomer new_worker reload_worker rewrite come_and_go again; do
        where="$what, instant $at"
        echo "$at" >"$tmp/die.new"
        mv "$tmp/die.new" "$NBDSWAP_DIE_FILE"
        "$what"
        for ((k = 0; k < 40; k++)); do
            ! died || break
            rest 25
        done
        rm -f "$NBDSWAP_DIE_FILE"
        wait_until 60 settled
        one_of_each
        check_runs
        newcomer
        rest $((RANDOM % 100))
    done
    at=$((at + step))
    ((at <= 36)) || at=$((at % 36 + 1))
done
[ "$(field '.sessions|length')" = 4 ] || fail "sessions: $(field .sessions)"
for name in plain checked; do
    end_check "$name"
    [ "$(value operations)" -ge 500 ] || fail "$name: $said"
done
if grep -E ' is cut: | lost: .*(plain|checked)|export (plain|checked).*LOST' "$log"; then fail "something was lost"; fi
kill -TERM "$server_pid"
wait_server || fail "exit status $?"
[ -z "$(ours nbdswapd-dies; ours nbdswap-engine; ours nbdkit)" ] || fail "something is left"
sort "$tmp/die.done" | uniq -c
[ "$(wc -l <"$tmp/die.done")" -ge $((2 * most)) ] || fail "it died too seldom"
