# SPDX-License-Identifier: BSD-3-Clause
# Wrong parameters and files that cannot be served: each with a message that says why.
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1

refused 'nothing to serve: give one of file=PATH and dir=DIR' "allow=$allow"
refused 'too many sources of pages' file="$disk/a" dir="$disk"
refused 'file=.* is given twice' file="$disk/a" file="$disk/b" size=1M
refused 'size=17: is not a size in whole pages of 4096 bytes' file="$disk/a" size=17
for size in 0 -1 1x 4097 4.5M '' 99999999999G; do
    refused "size=$size: is not a size in whole pages" file="$disk/a" size="$size"
done
refused 'size= goes with file= only' dir="$disk" size=1M
refused 'force= goes with size= only' file="$disk/a" force=true
refused 'pool=1: is not a size' file="$disk/a" pool=1
refused 'pool=4096: is not between 1M and 64G' file="$disk/a" pool=4096
refused 'pool=128G: is not between 1M and 64G' file="$disk/a" pool=128G
refused 'rewrite=maybe' file="$disk/a" rewrite=maybe
for list in '' everything oom, ,oom memlock,,oom MEMLOCK; do
    refused 'allow=.*: has something else than memlock, oom, io-flusher, confine' file="$disk/a" "allow=$list"
done
refused 'colour=red: is not a parameter of this plugin; see nbdkit-swap-plugin\(1\)' file="$disk/a" colour=red
refused 'check=md5: is not one of xxh3, none' file="$disk/a" check=md5
refused 'check= does not go with broker=' broker=57 check=none
refused 'broker=-1: is not a descriptor' broker=-1
refused 'broker=57 is not an open descriptor; it is for nbdswapd to give' broker=57 "allow=$allow"
refused 'none: No such file or directory' dir="$disk/none"
[ -z "$(ls "$disk")" ] || fail "something was made: $(ls "$disk")"

refused "$disk/a: does not exist; give a size to have it made" file="$disk/a" "allow=$allow"
refused 'is neither a regular file nor a block device' file=/dev/null "allow=$allow"
refused 'is neither a regular file nor a block device' file="$disk" "allow=$allow"
: >"$disk/empty"
refused 'empty: its size of 0 bytes is not a multiple of a page' file="$disk/empty" "allow=$allow"
head -c 1000000 /dev/urandom >"$disk/odd"
refused 'odd: .*not a multiple of a page' file="$disk/odd" "allow=$allow"
head -c 1M /dev/urandom >"$disk/stampless"
chmod 600 "$disk/stampless"
refused 'stampless: has no trailer of nbdswap.s' file="$disk/stampless" "allow=$allow"
refused 'huge: needs .* free on' file="$disk/huge" size=900T "allow=$allow"
[ ! -e "$disk/huge" ] || fail "a file that could not be made was left behind"

# The smallest export is one page.
start_nbdkit file="$disk/page" size=4096
"$nbdcmd" "$uri" write 0 4k 1 read 0 4k 1 expect EINVAL read 4k 4k 0
stop_nbdkit
start_nbdkit file="$disk/page" size=4k
"$nbdcmd" "$uri" read 0 4k 1
stop_nbdkit
[ "$(stat -c %a "$disk/page")" = 600 ] || fail "mode $(stat -c %a "$disk/page")"
