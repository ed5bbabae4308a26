#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Each page of a sealed export that is found changed is an error to the client, is counted, and is listed: single bits anywhere in a page, two
# pages exchanged, an older copy of a page, an older copy of all.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
. "$srcdir/tests/plugin/damage.sh"
requires_worker
requires_backing
requires jq --version
! could_swap || skip "this machine has swap on"
nbdcmd=$builddir/tests/plugin/nbdcmd
RANDOM=99
pages=256

make_conf '[export sealed]' 'seal = aes-256-gcm' "size = $((pages * 4))k"
start_server
wait_until 60 export_is sealed ready
u=$(uri sealed)
file=$tmp/sealed.swap

counters() {
    field '.exports[0].counters|"\(.lost_pages) \(.checks_failed) \(.reread_good)"'
}
# found_lost PAGE...: each is an error, counted once as lost and with the two looks that did not match, and they are all that is listed.
lost=0
found_lost() {
    local page
    for page; do
        "$nbdcmd" "$u" expect EIO read $((page * 4096)) 4k 0
        "$nbdcmd" "$u" expect EIO read $((page * 4096)) 4k 0 # it is not asked for again, nor counted again
    done
    lost=$((lost + $#))
    [ "$(counters)" = "$lost $((2 * lost)) 0" ] || fail "after $# more bad pages: $(counters), not $lost $((2 * lost)) 0"
    [ "$(ctl lost sealed --json | jq -c '[.ranges[]|range(.first;.first+.count)]')" = \
        "[$(printf '%s\n' "$@" | sort -n | paste -sd,)]" ] || fail "listed as lost: $(ctl lost sealed), not: $*"
}
write_all() {
    "$nbdcmd" "$u" text 0 $((pages * 4))k "$1" readtext 0 $((pages * 4))k "$1"
    [ "$(counters)" = "$lost $((2 * lost)) 0" ] || fail "counted without a reason: $(counters)"
}

write_all 1
declare -A chosen=()
while [ "${#chosen[@]}" -lt 24 ]; do chosen[$((RANDOM % pages))]=1; done
for page in "${!chosen[@]}"; do flip "$file" $((page * 4096 + RANDOM % 4096)) $((RANDOM % 8)); done
found_lost "${!chosen[@]}"

write_all 2
save_pages "$file" 10 1 "$tmp/ten"
save_pages "$file" 20 1 "$tmp/twenty"
put_pages "$file" 10 "$tmp/twenty"
put_pages "$file" 20 "$tmp/ten"
found_lost 10 20

write_all 3
save_pages "$file" 30 1 "$tmp/old"
"$nbdcmd" "$u" text 120k 4k 3 # the same content once more
put_pages "$file" 30 "$tmp/old"
found_lost 30

write_all 4
save_pages "$file" 0 "$pages" "$tmp/all"
write_all 4
put_pages "$file" 0 "$tmp/all"
# shellcheck disable=SC2046
found_lost $(seq 0 $((pages - 1)))
write_all 5
