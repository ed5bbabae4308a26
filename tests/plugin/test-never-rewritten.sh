# SPDX-License-Identifier: BSD-3-Clause
# size= stands in a unit file and is given at every start: it makes and resumes files, and rewrites those that nbdswap did not make, but
# it never costs the pages of a file that it made.
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1
file=$disk/n.swap

start_nbdkit file="$file" size=16M
"$nbdcmd" "$uri" write 0 1M 0x77
stop_nbdkit
sum=$(sha256sum <"$file")
unchanged() {
    [ "$(sha256sum <"$file")" = "$sum" ] || fail "the file was changed: $*"
}

# Another size than it was made for.
refused 'n.swap: was made for 16 MiB, the size asked for is 32 MiB' file="$file" size=32M "allow=$allow"
refused 'n.swap: was made for 16 MiB, the size asked for is 8 MiB' file="$file" size=8M "allow=$allow"
unchanged "another size"

# A hole was punched into it.
cp --sparse=never --preserve=mode "$file" "$disk/kept"
sync "$disk/kept"
fallocate --punch-hole --offset 8M --length 64k "$file" || skip "cannot punch holes here"
sum=$(sha256sum <"$file")
refused 'n.swap: has 1 hole.*nbdswapctl activate --rewrite' file="$file" size=16M "allow=$allow"
refused 'n.swap: has 1 hole' file="$file" size=16M rewrite=true force=true "allow=$allow"
refused 'n.swap: has 1 hole' file="$file" "allow=$allow"
unchanged "punched"

# After an unclean end all pages are lost; written anew they would read as zeros to the client that had them.
start_nbdkit file="$disk/kept" size=16M
"$nbdcmd" "$uri" read 0 1M 0x77
stop_nbdkit KILL
fallocate --punch-hole --offset 8M --length 64k "$disk/kept"
refused 'kept: has 1 hole.*nbdswapctl activate --rewrite' file="$disk/kept" size=16M "allow=$allow"

# What nbdswap did not make is rewritten with size=, unless that is not wanted or it holds something known.
head -c 16M /dev/urandom >"$disk/foreign"
chmod 600 "$disk/foreign"
refused 'foreign: has no trailer' file="$disk/foreign" size=16M rewrite=false "allow=$allow"
if command -v mkfs.ext4 >/dev/null; then
    truncate -s 32M "$disk/fs"
    chmod 600 "$disk/fs"
    mkfs.ext4 -q "$disk/fs"
    refused 'fs: holds .*ext4.*which would be overwritten' file="$disk/fs" size=16M "allow=$allow"
fi
start_nbdkit file="$disk/foreign" size=16M
"$nbdcmd" "$uri" read 0 1M 0
stop_nbdkit
start_nbdkit file="$disk/foreign" size=16M rewrite=false
