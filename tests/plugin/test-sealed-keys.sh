# SPDX-License-Identifier: BSD-3-Clause
# Keys: what is refused and how it is said, what a restart keeps, and what a file was last used with.
. "${srcdir:-.}/tests/plugin/sealed.sh" || exit 1
make_key "$tmp/key"
make_key "$tmp/other"

refused 'seal=rot13: is not one of none, aes-256-gcm' file="$disk/a" seal=rot13
refused 'key=mine: is not ephemeral; a key of your own goes into a file' file="$disk/a" "${sealed[@]}" key=mine
refused 'contradict each other' file="$disk/a" "${sealed[@]}" key=ephemeral key-file="$tmp/key"
refused 'pages are not sealed: add seal=aes-256-gcm' file="$disk/a" key-file="$tmp/key"
refused 'pages are not sealed: add seal=aes-256-gcm' file="$disk/a" seal=none key=ephemeral
refused 'seal= does not go with broker=' broker=3 "${sealed[@]}"
a=(file="$disk/a" size=1M "allow=$allow" "${sealed[@]}")
refused "key file $tmp/none: it does not exist; make one: .*head -c 32 /dev/urandom" "${a[@]}" key-file="$tmp/none"
for mode in 640 604 601 620; do
    chmod "$mode" "$tmp/key"
    refused "key file $tmp/key: its mode 0$mode lets others at the key; use chmod 600" "${a[@]}" key-file="$tmp/key"
done
chmod 600 "$tmp/key"
if [ "$(id -u)" = 0 ]; then
    chown 4321 "$tmp/key"
    refused "key file $tmp/key: it belongs to user 4321" "${a[@]}" key-file="$tmp/key"
    chown 0 "$tmp/key"
fi
(umask 077 && head -c 31 /dev/urandom >"$tmp/short")
refused "key file $tmp/short: it must hold a random key of 32 bytes" "${a[@]}" key-file="$tmp/short"
refused "key file $tmp: it is not a regular file" "${a[@]}" key-file="$tmp"
[ ! -e "$disk/a" ] || fail "a file was made for an export that was refused"

# With a key file a clean stop keeps every page, and pages written before and after mix.
k=(file="$disk/k" "${sealed[@]}" key-file="$tmp/key")
start_nbdkit "${k[@]}" size=4M
"$nbdcmd" "$uri" text 0 1M 1 writesame 1M 64k 0x77 text 2M 64k 1 trim 2M 32k
for round in 2 3; do
    stop_nbdkit
    start_nbdkit "${k[@]}"
    "$nbdcmd" "$uri" readtext 0 512k $((round - 1)) readtext 512k 512k 1 readsame 1M 64k 0x77 read 2M 32k 0 readtext 2080k 32k 1 read 3M 1M 0 \
        text 0 512k "$round" readtext 0 512k "$round"
done
stop_nbdkit
[ -z "$(grep lost "$log" || true)" ] || fail "pages were lost: $(cat "$log")"

# Only with this key.
refused 'sealed with another key than the one in the key file; give the key file that it was last used with' file="$disk/k" "allow=$allow" \
    "${sealed[@]}" key-file="$tmp/other"
refused 'sealed with the key of a key file; give that key-file' file="$disk/k" "allow=$allow"
refused 'sealed with the key of a key file; give that key-file' file="$disk/k" "allow=$allow" "${sealed[@]}"
od -An -v -tx1 "$tmp/key" | tr -d ' \n' >"$tmp/hex"
chmod 400 "$tmp/hex"
start_nbdkit file="$disk/k" "${sealed[@]}" key-file="$tmp/hex" # the same key, written otherwise
"$nbdcmd" "$uri" readtext 0 512k 3 readtext 512k 512k 1
# An unclean end loses all of them, with any key.
stop_nbdkit KILL
start_nbdkit file="$disk/k" "${sealed[@]}" key-file="$tmp/other"
"$nbdcmd" "$uri" expect EIO readtext 0 4k 3 expect EIO read 3M 4k 0 text 0 4k 4 readtext 0 4k 4
stop_nbdkit

# The ephemeral key is gone with the use: lost pages, and neither zeros nor the old content; what was never written is still zeros.
e=(file="$disk/e" "${sealed[@]}" key=ephemeral)
start_nbdkit "${e[@]}" size=4M
"$nbdcmd" "$uri" text 0 1M 1 writesame 1M 64k 0x77 readtext 0 1M 1
stop_nbdkit
: >"$log"
start_nbdkit "${e[@]}"
! grep -q 'did not end cleanly' "$log" || fail "a clean stop was taken for an unclean one"
"$nbdcmd" "$uri" expect EIO readtext 0 4k 1 expect EIO read 0 4k 0 expect EIO readsame 1M 4k 0x77 read 2M 2M 0
for ((page = 0; page < 256; page += 5)); do "$nbdcmd" "$uri" expect EIO readtext $((page * 4096)) 4k 1; done
"$nbdcmd" "$uri" text 0 1M 2 readtext 0 1M 2
stop_nbdkit
# It may be used in another way then, and what was in use is lost.
start_nbdkit file="$disk/e"
"$nbdcmd" "$uri" expect EIO readtext 0 4k 2 text 0 4k 3 readtext 0 4k 3
stop_nbdkit
# What lies there in the clear now is not mixed with sealed pages.
refused 'was used without a seal, so pages lie in it as they were; make it anew' "${e[@]}" "allow=$allow"
start_nbdkit file="$disk/e"
stop_nbdkit KILL
refused 'was used without a seal' "${e[@]}" "allow=$allow"

# A file that was only allocated may be sealed.
env ${preload:+LD_PRELOAD="$preload"} "$nbdkit" -U - "$plugin" "allow=$allow" file="$disk/new" size=1M --run true >>"$log" 2>&1 || fail "allocation: $(cat "$log")"
start_nbdkit file="$disk/new" "${sealed[@]}" key-file="$tmp/key"
"$nbdcmd" "$uri" text 0 1M 1 readtext 0 1M 1
stop_nbdkit
# In a directory, with one key file for all.
uri="nbd+unix:///new?socket=$sock"
start_nbdkit dir="$disk" "${sealed[@]}" key-file="$tmp/key"
"$nbdcmd" "$uri" readtext 0 1M 1 text 0 4k 2 readtext 0 4k 2
stop_nbdkit

# To make a file ready does not depend on how it was sealed, and takes nothing from it; only the express word makes it anew.
"$builddir/server/nbdswapctl" activate --file "$disk/new" --size 1M >"$tmp/out" 2>&1 || fail "activate --file: $(cat "$tmp/out")"
start_nbdkit dir="$disk" "${sealed[@]}" key-file="$tmp/key"
"$nbdcmd" "$uri" readtext 0 4k 2 readtext 4k 1020k 1
stop_nbdkit
"$builddir/server/nbdswapctl" activate --file "$disk/new" --size 1M --rewrite >"$tmp/out" 2>&1 || fail "--rewrite: $(cat "$tmp/out")"
start_nbdkit dir="$disk" "${sealed[@]}" key-file="$tmp/other"
"$nbdcmd" "$uri" read 0 1M 0 text 0 4k 2 readtext 0 4k 2
