# SPDX-License-Identifier: BSD-3-Clause
# Small file systems on loop devices below $tmp, for tests of what a real file system does.  Source after functions.sh.
# shellcheck shell=bash

storetool=$builddir/tests/store/storetool

# loopfs_make TYPE [MIB] [MOUNT-OPTIONS] [MKFS-ARG...]: mounts a new file system; sets mnt.  Skips when that is not to be had.
loopfs_make() {
    local type=$1 mib=${2:-400} options=${3:-} img
    shift; shift || true; shift || true
    mnt=$(mktemp -d "$tmp/mnt.XXXXXX")
    img=$mnt.img
    [ "$(id -u)" = 0 ] || skip "loop mounts need root"
    requires command -v "mkfs.$type"
    truncate -s "${mib}M" "$img"
    "mkfs.$type" -q "$@" "$img" >"$tmp/mkfs.log" 2>&1 || skip "mkfs.$type does not make a file system here: $(tail -1 "$tmp/mkfs.log")"
    mount -t "$type" -o "loop${options:+,$options}" "$img" "$mnt" 2>"$tmp/mount.log" ||
        skip "no loop mount of $type here: $(cat "$tmp/mount.log")"
    cleanup_fn loopfs_drop "$mnt"
}

# loopfs_drop MNT: unmounts it and gives its space back; once is enough.
loopfs_drop() {
    if [ -e "$1.img" ]; then
        umount -l "$1"
        rm -f "$1.img"
    fi
}

# refused REGEX ARG...: storetool must refuse with a message that matches.
refused() {
    local pattern=$1 out
    shift
    if out=$("$storetool" "$@" 2>&1); then fail "was not refused: $*"$'\n'"$out"; fi
    must_match "$out" "$pattern" "refusal of $*"
}

# works REGEX ARG...: storetool must succeed and say this; leaves its words in $out.
works() {
    local pattern=$1
    shift
    out=$("$storetool" "$@" 2>&1) || fail "failed: $*"$'\n'"$out"
    must_match "$out" "$pattern" "$*"
}
