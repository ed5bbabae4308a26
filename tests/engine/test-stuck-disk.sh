#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Writes that are stuck at one local disk do not keep the kernel's workers from another's.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/store/loopfs.sh"
requires command -v fsfreeze

loopfs_make ext4 64
thaw() { fsfreeze --unfreeze "$mnt" 2>"$tmp/thaw.log"; }
cleanup_fn thaw # should the program have been killed
timeout 120 "$builddir/tests/engine/stuckdisk" "$mnt" >"$tmp/out" 2>&1 || fail "$(cat "$tmp/out")"
