# SPDX-License-Identifier: BSD-3-Clause
# What the plugin says of an export: size, page-sized requests, and flags that are true.
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1

start_nbdkit file="$disk/a.swap" size=16M
[ "$(nbdinfo --size "$uri")" = 16777216 ] || fail "size"
info=$(nbdinfo --no-content "$uri")
must_match "$info" 'block_size_minimum: 4096$'
must_match "$info" 'block_size_preferred: 4096$'
max=$(sed -n 's/.*block_size_maximum: \([0-9]*\).*/\1/p' <<<"$info")
((max >= 131072 && max <= 1048576 && max % 4096 == 0)) || fail "maximum block size $max"
for flag in flush fua multi-conn trim zero fast-zero write; do
    case $flag in
    write) nbdinfo --is read-only "$uri" && fail "read-only" ;;
    *) nbdinfo --can "$flag" "$uri" || fail "cannot $flag" ;;
    esac
done
nbdinfo --is rotational "$uri" && fail "rotational: swap would cluster for a disk that has to seek"
nbdinfo --can cache "$uri" && fail "cache"
must_match "$(nbdinfo --list "$uri")" 'export="a.swap"'
stop_nbdkit

# nbdkit -r: pages can be read, not changed.
NBDKIT_OPTIONS=(-r)
start_nbdkit file="$disk/a.swap"
nbdinfo --is read-only "$uri" || fail "nbdkit -r serves it writable"
"$nbdcmd" "$uri" read 0 64k 0 expect EPERM write 0 4k 1 expect EPERM trim 0 4k
stop_nbdkit
NBDKIT_OPTIONS=()
start_nbdkit file="$disk/a.swap"
"$nbdcmd" "$uri" read 0 64k 0
