#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# On each local file system: created by size, whole and durable; a second activation finds everything right and writes nothing; a clean stop
# keeps all pages, an unclean end loses all and raises the generation; a damaged table image is lost, not believed.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/store/loopfs.sh"

state_of() { stat -c '%s %b %Y %Z %i' "$1"; sha256sum <"$1"; filefrag -v "$1" | grep -E '^ +[0-9]+:'; }
# flip OFFSET: inverts a byte of $f.
flip() {
    local old
    old=$(od -An -tu1 -j "$1" -N1 "$f")
    printf "\\x$(printf %x $((old ^ 255)))" | dd of="$f" bs=1 seek="$1" conv=notrunc status=none
}
# newest_header: where the header lies that counts.
newest_header() {
    local a b
    a=$(od -An -tu8 -j $((size - 8192 + 16)) -N8 "$f")
    b=$(od -An -tu8 -j $((size - 4096 + 16)) -N8 "$f")
    echo $((size - (a > b ? 8192 : 4096)))
}
generation_of() { sed -n 's/.*generation=\([0-9]*\).*/\1/p' <<<"$1"; }

for fs in ext4 xfs btrfs; do
    loopfs_make $fs
    f=$mnt/ws1
    works 'activated .*/ws1 size=20971520 backend='$fs activate "$f" size=20M
    [ "$(stat -c %a "$f")" = 600 ] || fail "$fs: mode $(stat -c %a "$f")"
    # 20 MiB and their table of 20 pages and two headers, all of it there, written, its own.
    size=$(stat -c %s "$f")
    [ "$size" = $((20971520 + 43 * 4096 + 8192)) ] || fail "$fs: size $size"
    [ "$(($(stat -c %b "$f") * 512))" -ge "$size" ] || fail "$fs: holes"
    if filefrag -v "$f" | grep -E 'unwritten|shared|inline|encoded|delalloc'; then fail "$fs: extents"; fi
    # Incompressible: gzip gains nothing, and no page is there twice.
    [ "$(gzip -1 <"$f" | wc -c)" -ge 20971520 ] || fail "$fs: what was written can be compressed"

    before=$(state_of "$f")
    works 'activated' activate "$f" provision=never
    works 'activated' activate "$f" size=20M
    works 'activated' activate "$f" size=20M provision=rewrite
    works 'ok trailer: export of 20 MiB' check "$f"
    [ "$(state_of "$f")" = "$before" ] || fail "$fs: activation of a satisfied file changed it"
    ASAN_OPTIONS=detect_leaks=0 strace -f -o "$tmp/trace" -e trace=write,pwrite64,pwritev,ftruncate,fallocate,fsync,fdatasync,unlink,ioctl \
        "$storetool" activate "$f" size=20M >/dev/null
    if grep -E 'pwrite|ftruncate|fallocate|sync|unlink|SETFLAGS' "$tmp/trace"; then fail "$fs: activation wrote"; fi

    # A clean stop keeps everything.
    works 'ended' activate "$f" begin write=0+8:17 write=4000+40:18 discard=2+1 end
    must_match "$out" 'table fresh=5120 written=0 lost=0 .*unclean=0'
    gen=$(generation_of "$out")
    works 'table fresh=5073 written=47 lost=0 generation='"$gen"' unclean=0' activate "$f" begin \
        read=0+2 read=2+1 read=3+5 read=4000+40 read=5000+1 end
    must_match "$out" '^read=0\+2 error=0 cause=0 value=17$'
    must_match "$out" '^read=2\+1 error=0 cause=0 value=0$'
    must_match "$out" '^read=3\+5 error=0 cause=0 value=17$'
    must_match "$out" '^read=4000\+40 error=0 cause=0 value=18$'
    must_match "$out" '^read=5000\+1 error=0 cause=0 value=0$'

    # An unclean end loses every page, not only those that were written.
    works 'table fresh=5073' activate "$f" begin write=100+1:3 crash
    works 'warn unclean' check "$f"
    works "table fresh=0 written=0 lost=5120 .*unclean=1" activate "$f" begin read=0+1 read=5000+1 \
        write=0+1:5 discard=1+1 read=0+1 read=1+1 end
    must_match "$out" '^read=0\+1 error=EIO'
    must_match "$out" '^read=5000\+1 error=EIO'
    must_match "$out" '^read=0\+1 error=0 cause=0 value=5'
    must_match "$out" '^read=1\+1 error=0 cause=0 value=0'
    [ "$(generation_of "$out")" -gt "$gen" ] || fail "$fs: the generation did not rise"
    gen=$(generation_of "$out")
    works "table fresh=1 written=1 lost=5118 generation=$gen unclean=0" activate "$f" begin end

    # One bit of the table's image changed: nothing of it is believed.
    flip $((20971520 + 5000))
    works "table fresh=0 written=0 lost=5120 .*unclean=1" activate "$f" begin end
    [ "$(generation_of "$out")" -gt "$gen" ] || fail "$fs: the generation did not rise after a damaged table"

    # Clean, then the newest header is damaged: what is older and says "in use" counts.
    works 'ended' activate "$f" begin write=0+1:5 end
    flip $(($(newest_header) + 100))
    works "lost=5120 .*unclean=1" activate "$f" begin crash
    # In use, then the newest header is damaged: the older one must not say "clean".
    works 'ended' activate "$f" begin write=0+1:6 end
    works 'table' activate "$f" begin write=0+1:7 crash
    flip $(($(newest_header) + 100))
    works "lost=5120 .*unclean=1" activate "$f" begin end

    # A file made anew at the same place does not come back to a generation that was in use there.
    gen=$(generation_of "$out")
    rm "$f"
    works 'activated' activate "$f" size=1M begin end
    [ "$(generation_of "$out")" -gt "$gen" ] || fail "$fs: generation came back"
    echo "$fs: right"
done
