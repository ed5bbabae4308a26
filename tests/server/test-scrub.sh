#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What the storage changed behind the daemon's back is found by a scrub, exactly that, while a client uses the export; it is listed, is
# an error to read, and is good again when it is written.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires_worker
requires_backing
requires jq --version
requires qemu-io --version
requires nbdcopy --version

# run_ctl RC COMMAND ARG...: its output in $out.
run_ctl() {
    local want=$1 rc=0
    shift
    out=$(ctl "$@" 2>&1) || rc=$?
    [ "$rc" = "$want" ] || fail "nbdswapctl $*: exit status $rc, not $want: $out"
}
# scrubbed JQ-PATH: of the last scrub of ws1.
scrubbed() { ctl scrub ws1 --status --json 2>/dev/null | jq -r "$1"; }
# corrupt PAGE [COUNT]: other bytes there.
corrupt() { head -c $((${2:-1} * 4096)) /dev/urandom | dd of="$tmp/ws1.swap" bs=4096 seek="$1" conv=notrunc status=none; }
# page_read PAGE: by the client that has it.
page_read() { qemu-io -f raw -c "read $(($1 * 4096)) 4096" "$(uri ws1 machine-A)" 2>&1; }

make_conf '[export ws1]' '[export bare]' 'check = none'
start_server
wait_until 60 export_is ws1 ready
wait_until 60 export_is bare ready
head -c 4194304 /dev/urandom >"$tmp/data"
nbdcopy "$tmp/data" "$(uri ws1)"
hold_open ws1 machine-A

run_ctl 0 scrub ws1 --status
must_match "$out" '^ws1: has not been scrubbed'
run_ctl 0 lost ws1
must_match "$out" '^ws1: 0 lost pages'
run_ctl 0 scrub ws1 --wait --rate 1024
must_match "$out" '^ws1: scrub done, .* 1024 of 1024 pages looked at'
must_match "$out" '^  1024 pages read and right'
must_match "$out" '^  0 pages did not match'

corrupt 7
corrupt 500 3
corrupt 1023
run_ctl 7 scrub ws1 --wait --rate 1024
must_match "$out" '^  1019 pages read and right'
must_match "$out" '^  5 pages did not match'
must_match "$out" '^  5 of these also the second time'
run_ctl 0 lost ws1 --json
[ "$(jq -c '[.ranges[]|[.first,.count]]' <<<"$out")" = '[[7,1],[500,3],[1023,1]]' ] || fail "lost: $out"
[ "$(jq .pages <<<"$out")" = 5 ] || fail "lost: $out"
run_ctl 0 lost ws1
must_match "$out" '^ws1: 5 lost pages \(20 KiB\) in 3 ranges'
must_match "$out" '^  pages 500-502, bytes 2048000-2060287$'
[ "$(field '.exports[0].counters|[.lost_pages,.checks_failed,.reread_good]|join(" ")')" = "5 10 0" ] || fail "$(field '.exports[0].counters')"
must_match "$(ctl status)" '^ws1: 5 pages became lost'
must_match "$(ctl status)" '^ws1: scrub done, ended .*: 1019 pages verified, 5 bad, 0 unreadable'
must_match "$(cat "$log")" 'export ws1: the scrub found 5 pages that did not match, of which 5 are lost'

must_match "$(page_read 501)" 'read failed: Input/output error'
must_match "$(page_read 503)" 'read 4096/4096'
# Not for one who has it, nor for those that are not lost; and not another's business.
run_ctl 4 reset ws1
must_match "$out" 'export "ws1" is in use by client machine-A'
# Written anew.
qemu-io -f raw -c "write -P 5 $((500 * 4096)) 8192" "$(uri ws1 machine-A)" >"$tmp/out"
qemu-io -f raw -c "read -P 5 $((500 * 4096)) 8192" "$(uri ws1 machine-A)" >"$tmp/out" || fail "what was lost does not come back by writing it"
if grep -q 'verification failed' "$tmp/out"; then fail "$(cat "$tmp/out")"; fi
run_ctl 0 lost ws1 --json
[ "$(jq -c '[.ranges[]|[.first,.count]]' <<<"$out")" = '[[7,1],[502,1],[1023,1]]' ] || fail "lost: $out"
# Found before; nothing new.
run_ctl 0 scrub ws1 --wait --rate 1024
must_match "$out" '^  3 pages were lost before'

let_go machine-A
free() { [ "$(field '.exports[0].client')" = null ]; }
wait_until 30 free
run_ctl 0 reset ws1
must_match "$out" '^ws1: 3 lost pages read as zeros'
run_ctl 0 lost ws1
must_match "$out" '^ws1: 0 lost pages'
qemu-io -f raw -c "read -P 0 $((7 * 4096)) 4096" "$(uri ws1)" >"$tmp/out"
if grep -q 'verification failed' "$tmp/out"; then fail "$(cat "$tmp/out")"; fi

# Without a check there is nothing to compare with, and that is said.
nbdcopy "$tmp/data" "$(uri bare)"
run_ctl 0 scrub bare --wait
must_match "$out" '^  1024 pages were written with check = none'
must_match "$(ctl status)" '^bare +ready .* none +300 s '

# What cannot be.
for bad in "" "ws1 bare" "ws1 --rate 0" "ws1 --rate x" "ws1 --status --wait" "ws1 --stop --rate 3"; do
    # shellcheck disable=SC2086
    run_ctl 2 scrub $bad
done
run_ctl 1 scrub nope
must_match "$out" 'there is no export "nope"'
run_ctl 1 lost nope
run_ctl 4 reset nope
