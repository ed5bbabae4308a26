# SPDX-License-Identifier: BSD-3-Clause
# One export, one client; and one process for a file.
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1

u() {
    echo "nbd+unix:///$1?socket=$sock"
}
start_nbdkit file="$disk/x.swap" size=16M
mkfifo "$tmp/go"
"$nbdcmd" "$(u 'x.swap%3Fclient=one')" write 0 4k 1 pause read 0 4k 1 <"$tmp/go" >"$tmp/said" &
client=$!
exec 5>"$tmp/go"
wait_until 30 grep -q paused "$tmp/said"
# The same client may have more connections, another may have none, and is told who has it.
"$nbdcmd" "$(u 'x.swap%3Fclient=one')" read 0 4k 1
if "$nbdcmd" "$(u 'x.swap%3Fclient=two')" read 0 4k 1 2>/dev/null; then fail "a second client was let in"; fi
must_match "$(cat "$log")" 'x\.swap.*one.*since'
if "$nbdcmd" "$(u x.swap)" read 0 4k 1 2>/dev/null; then fail "a client without a name was let in beside one"; fi
echo go >&5
wait "$client" || fail "the first client was disturbed"
wait_until 30 "$nbdcmd" "$(u 'x.swap%3Fclient=two')" read 0 4k 1

# Names: the file's, or none; anything else is refused by name.
"$nbdcmd" "$(u '%3Fclient=two')" read 0 4k 1
for bad in y.swap 'x.swap%3Fcolour=red' 'x.swap%3Fclient=' ..%2Fx.swap; do
    if "$nbdcmd" "$(u "$bad")" read 0 4k 1 2>/dev/null; then fail "export $bad was served"; fi
done
must_match "$(cat "$log")" 'export "y.swap" is not known; this server has "x.swap"'

# A second process is refused while this one has the file, and told who.
cp "$tmp/pid" "$tmp/pid1"
sock=$tmp/sock2
refused "x.swap: is already activated by process $pid on $(hostname) since 20" file="$disk/x.swap" "allow=$allow"
sock=$tmp/sock
"$nbdcmd" "$uri" read 0 4k 1
