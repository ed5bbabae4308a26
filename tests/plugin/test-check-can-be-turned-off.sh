# SPDX-License-Identifier: BSD-3-Clause
# check=: a page that the storage changed reads as an error, and is lost; with check=none it is believed, for those who insist.
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1
requires nbdcopy --version
head -c 1M /dev/urandom >"$tmp/data"
head -c 4096 /dev/urandom >"$tmp/other"

# changed CHECK...: page 5 is changed below the plugin; what a client reads then goes to $tmp/read.
changed() {
    start_nbdkit file="$disk/f" size=1M "$@"
    nbdcopy "$tmp/data" "$uri"
    dd if="$tmp/other" of="$disk/f" bs=4096 seek=5 conv=notrunc oflag=direct status=none
    nbdcopy --requests=1 --connections=1 "$uri" "$tmp/read" 2>>"$log"
}
for check in "" check=xxh3; do
    # shellcheck disable=SC2086 # none, or one
    if changed $check; then fail "a page that was changed was given out"; fi
    "$nbdcmd" "$uri" expect EIO read 20k 4k 0
    stop_nbdkit
done
changed check=none || fail "reading failed: $(tail -n 3 "$log")"
stop_nbdkit
cp "$tmp/data" "$tmp/want"
dd if="$tmp/other" of="$tmp/want" bs=4096 seek=5 conv=notrunc status=none
cmp "$tmp/read" "$tmp/want" || fail "with check=none something else was read than what the storage has"
