#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The daemon dies around the instant at which it marks a file as in use: from then on the pages are only in a table in memory.  Its successor has
# that, or begins anew with what the file tells: no page is lost.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/successor.sh"
requires_worker
requires_backing
requires qemu-io --version

export NBDSWAP_DIE_FILE=$tmp/die
: >"$tmp/die.done"
nbdswapd=$builddir/tests/server/nbdswapd-dies
resume_conf '[export a]'
url() { echo "nbd://127.0.0.1:$(port)/a"; }
stop() {
    kill -TERM "$server_pid"
    wait_server || fail "$what: exit status $?"
}
what=none
start_server
wait_until 60 export_is a ready
qemu-io -t none -f raw -c 'write -P 7 0 1M' "$(url)" >"$tmp/out" || fail "$(cat "$tmp/out")"
stop
for what in 'before mark' 'after mark'; do
    : >"$tmp/die.done"
    echo "1 $what" >"$NBDSWAP_DIE_FILE"
    start_server
    died() { [ -s "$tmp/die.done" ]; }
    wait_until 60 died
    wait_until 60 settled
    qemu-io -r -t none -f raw -c 'read -P 7 0 1M' "$(url)" >"$tmp/out" || fail "$what: $(cat "$tmp/out")"
    if grep -E 'Pattern|failed' "$tmp/out"; then fail "$what"; fi
    [ "$(field '[.exports[].counters.lost_pages]|add')" = 0 ] || fail "$what: pages were lost"
    stop
done
