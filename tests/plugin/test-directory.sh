# SPDX-License-Identifier: BSD-3-Clause
# dir=: an export is an activated file of the directory, and no name that a client sends leads anywhere else.
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1

mkdir "$disk/d" "$disk/d/sub"
for name in ws1 ws2; do
    start_nbdkit file="$disk/d/$name" size=16M
    stop_nbdkit
done
start_nbdkit file="$disk/outside" size=1M
stop_nbdkit
cp "$disk/d/ws1" "$disk/d/.hidden"
ln -s ../outside "$disk/d/link"
ln -s ws1 "$disk/d/inside"
mkfifo "$disk/d/fifo"
head -c 1M /dev/urandom >"$disk/d/stampless"
chmod 600 "$disk/d/stampless"

: >"$log"
NBDKIT_OPTIONS=()
start_dir() { # there is no export of the empty name to wait for
    rm -f "$sock" "$tmp/pid"
    run_nbdkit "allow=$allow" dir="$disk/d" </dev/null >>"$log" 2>&1 &
    job=$!
    cleanup_fn end_process "$job"
    wait_until 60 "$nbdcmd" "$uri" list
    pid=$(cat "$tmp/pid")
}
start_dir
u() {
    echo "nbd+unix:///$1?socket=$sock"
}

list=$("$nbdcmd" "$uri" list | sort | tr '\n' ' ')
[[ $list == *ws1* && $list == *ws2* ]] || fail "the list has no ws1 and ws2: $list"
[[ $list != *hidden* && $list != *sub* && $list != *link* && $list != *inside* && $list != *fifo* ]] ||
    fail "the list has what is no export: $list"

"$nbdcmd" "$(u ws1)" write 0 64k 1
"$nbdcmd" "$(u ws2)" write 0 64k 2
"$nbdcmd" "$(u ws1%3Fclient=a)" read 0 64k 1
"$nbdcmd" "$(u ws2)" read 0 64k 2

not_served() {
    local want=$1 name
    shift
    for name in "$@"; do
        : >"$log"
        if "$nbdcmd" "$(u "$name")" flush 2>/dev/null; then fail "export \"$name\" was served"; fi
        must_match "$(cat "$log")" "$want" "the message for \"$name\""
    done
}
not_served "'/' would leave|hidden names" ..%2Foutside
not_served "'/' would leave" sub%2F..%2Fws1 %2Fetc%2Fpasswd "${disk//\//%2F}%2Foutside"
not_served 'hidden names' .. . .hidden
not_served 'the export name is empty' ''
not_served 'has 256 bytes, at most 255' "$(printf 'a%.0s' {1..256})"
not_served 'control character' 'ws1%0A' 'ws%01'
not_served 'symbolic link' link inside
not_served 'neither a regular file nor' sub fifo
not_served 'does not exist' none
not_served 'has no trailer' stampless
[ ! -e "$disk/d/none" ] || fail "a client has made a file"
[ "$(stat -c %s "$disk/d/stampless")" = 1048576 ] || fail "a client has had a file rewritten"

# Others cannot have the files in use, and a clean stop keeps all of them.
sock=$tmp/sock2
refused 'ws2: is already activated' file="$disk/d/ws2" "allow=$allow"
sock=$tmp/sock
stop_nbdkit
start_dir
"$nbdcmd" "$(u ws1)" read 0 64k 1
"$nbdcmd" "$(u ws2)" read 0 64k 2

# Killed with both in use: both are lost.
stop_nbdkit KILL
start_dir
"$nbdcmd" "$(u ws1)" expect EIO read 0 4k 0
"$nbdcmd" "$(u ws2)" expect EIO read 0 4k 0
must_match "$(cat "$log")" 'ws2: its last use did not end cleanly: every page is lost'
