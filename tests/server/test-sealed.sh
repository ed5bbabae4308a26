#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Sealed exports of the daemon: a worker serves them with the key that it is handed, the file tells nothing, a scrub works, and pages are
# kept over a stop with a key file and not with an ephemeral key.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires_worker
requires_backing
requires jq --version
requires nbdcopy --version
! could_swap || skip "this machine has swap on"

key() { head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$tmp/$1" && chmod 600 "$tmp/$1"; }
key key1
key key2
make_conf '[export kept]' 'seal = aes-256-gcm' "key-file = $tmp/key1" '[export gone]' 'seal = aes-256-gcm' 'check = none' '[export open]'
start_server
for x in kept gone open; do wait_until 60 export_is $x ready; done
[ "$(field '[.exports[].rules|"\(.check) \(.seal) \(.key)"]|join(", ")')" = \
    "xxh3 aes-256-gcm file, none aes-256-gcm ephemeral, xxh3 none null" ] || fail "rules: $(field '[.exports[].rules]')"
must_match "$(ctl status)" '^kept +ready .* aes-256-gcm +300 s '

# A pattern that is seen in the file of an export that is not sealed, and in the other ones not.
yes 'the text of a swapped page' | tr '\n' ' ' | head -c 4194304 >"$tmp/data" || true
for x in kept gone open; do
    nbdcopy "$tmp/data" "$(uri $x)"
    rm -f "$tmp/copy"
    nbdcopy "$(uri $x)" "$tmp/copy"
    cmp "$tmp/data" "$tmp/copy" || fail "$x: what was written does not come back"
    seen=$(grep -c 'swapped page' "$tmp/$x.swap" || true)
    case $x in open) [ "$seen" != 0 ] ;; *) [ "$seen" = 0 ] ;; esac || fail "$x: $seen lines of the file have the text of a page"
done
first=$(worker_pid)
kill -KILL "$first"
other_worker() { worker_ready && [ "$(worker_pid)" != "$first" ]; }
wait_until 60 other_worker
wait_until 60 export_is kept ready
same() {
    rm -f "$tmp/copy"
    nbdcopy "$(uri kept)" "$tmp/copy" 2>"$tmp/err" && cmp -s "$tmp/data" "$tmp/copy"
}
wait_until 60 same

# Two pages exchanged behind its back are two bad pages, also with check = none.
for x in kept gone; do
    for p in 10 20; do dd if="$tmp/$x.swap" of="$tmp/page$p" bs=4096 skip=$p count=1 status=none; done
    dd if="$tmp/page10" of="$tmp/$x.swap" bs=4096 seek=20 conv=notrunc status=none
    dd if="$tmp/page20" of="$tmp/$x.swap" bs=4096 seek=10 conv=notrunc status=none
    rc=0
    ctl scrub $x --wait --rate 1024 >"$tmp/out" 2>&1 || rc=$?
    [ "$rc" = 7 ] || fail "$x: scrub: exit status $rc, not 7: $(cat "$tmp/out")"
    [ "$(ctl lost $x --json | jq -c '[.ranges[]|[.first,.count]]')" = '[[10,1],[20,1]]' ] || fail "$x: lost: $(ctl lost $x)"
done
nbdcopy "$tmp/data" "$(uri kept)"

# Over a stop.
stopped() { ctl stop; } # once the session of the client before has ended
wait_until 30 stopped
wait_server || fail "stop: exit status $?"
start_server
wait_until 60 export_is kept ready
wait_until 60 export_is gone ready
same || fail "pages under a key file are gone after a clean stop: $(cat "$tmp/err")"
[ "$(field '.exports[1].pages.lost')" = 1024 ] || fail "pages under an ephemeral key: $(field '.exports[1].pages')"
if nbdcopy "$(uri gone)" "$tmp/copy" >"$tmp/out" 2>&1; then fail "pages were read under a key that is gone"; fi
reset_gone() { ctl reset gone >"$tmp/out"; } # once the session of the client before has ended
wait_until 30 reset_gone
nbdcopy "$(uri gone)" "$tmp/copy"

# Another key, a key that others can read, and no seal any more: refused with the reason, and nothing is changed by that.
refused() {
    must_match "$(ctl reload)" '^changed: kept$'
    wait_until 60 export_is kept failed
    must_match "$(field '.exports[0].error')" "$1"
}
cp "$conf" "$tmp/good"
sed -i "s|key1|key2|" "$conf"
refused 'are sealed with another key than the one in the key file'
sed "s|$tmp/key1|$tmp/key3|" "$tmp/good" >"$conf"
cp "$tmp/key1" "$tmp/key3"
chmod 644 "$tmp/key3"
refused 'key3'
sed -e '/^key-file/d' -e '0,/^seal/{/^seal/d}' "$tmp/good" >"$conf"
refused 'are sealed with the key of a key file'
cp "$tmp/good" "$conf"
must_match "$(ctl reload)" '^changed: kept$'
wait_until 60 export_is kept ready
same || fail "pages are gone after other keys were tried: $(cat "$tmp/err")"
