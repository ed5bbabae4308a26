# SPDX-License-Identifier: BSD-3-Clause
# The cases of interoperability: one list for every kind of server; run.sh runs them.  A case is a function case_NAME, in a shell of its own
# with a directory $tmp of its own; those of tests/interop/protocol are cases too.  What a runner provides:
#
#   kind                plugin (nbdkit alone), nbdkit or engine (under nbdswapd)
#   x, y                names of two exports, of 64 and 16 MiB
#   u EXPORT [CLIENT]   the URI
#   address             unix:PATH or HOST:PORT
#   server_log          the file with the server's messages
#   serving_pid         prints the process that serves
# shellcheck shell=bash disable=SC2154

data=$interop/data # 64 MiB, dense; made by run.sh as are the other two
sparse=$interop/sparse # 64 MiB with holes
small=$interop/small # 16 MiB, dense
nbdload=$builddir/tests/plugin/nbdload
nbdcmd=$builddir/tests/plugin/nbdcmd

# t COMMAND...: with a limit.
t() { timeout -k 5 150 "$@"; }

# refuses COMMAND...: it must fail, and not by the limit; what it says is in $tmp/refusal.
refuses() {
    local rc=0
    t "$@" >"$tmp/refusal" 2>&1 || rc=$?
    ((rc != 0)) || fail "not refused: $*"
    ((rc < 124)) || fail "it hung or was killed ($rc): $*"
}

# ---- libnbd's programs ----

case_nbdinfo() {
    local info
    info=$(t nbdinfo "$(u "$x")")
    must_match "$info" 'export-size: 67108864 '
    must_match "$info" 'protocol: newstyle-fixed without TLS'
    for yes in flush fua multi_conn trim zero; do must_match "$info" "can_$yes: true"; done
    must_match "$info" 'can_cache: false'
    if [ "$kind" = engine ]; then must_match "$info" 'can_df: false'; fi # goes with structured replies
    must_match "$info" 'is_read_only: false'
    must_match "$info" 'is_rotational: false'
    must_match "$info" 'block_size_minimum: 4096$'
    must_match "$info" 'block_size_preferred: 4096$'
}

case_nbdinfo_json() {
    t nbdinfo --json "$(u "$x")" >"$tmp/json"
    jq -e '.protocol == "newstyle-fixed" and .TLS == false and (.exports[0] | ."export-size" == 67108864 and .can_multi_conn and
        .can_fua and .can_flush and .can_trim and .can_zero and (.is_read_only | not) and (.can_cache | not) and
        .block_size_minimum == 4096 and .block_size_maximum >= 131072)' "$tmp/json" || fail "$(cat "$tmp/json")"
}

case_nbdinfo_list() {
    t nbdinfo --list --json "$(u "")" >"$tmp/json"
    [ "$(jq -r '[.exports[]|."export-name"]|sort|join(" ")' "$tmp/json")" = "$(printf '%s\n' "$x" "$y" | sort | tr '\n' ' ' | sed 's/ $//')" ] ||
        fail "$(cat "$tmp/json")"
    [ "$(jq -r '[.exports[]|."export-size"]|sort|join(" ")' "$tmp/json")" = "16777216 67108864" ] || fail "$(cat "$tmp/json")"
    must_match "$(t nbdinfo --list "$(u "")")" "export=\"$x\""
    [ "$(t nbdinfo --size "$(u "$y")")" = 16777216 ] || fail "size"
}

case_nbdinfo_capabilities() {
    local what rc
    for what in 'can flush' 'can fua' 'can multi-conn' 'can trim' 'can zero' 'can read' 'can write' 'can connect' \
        '! can cache' '! is read-only' '! is rotational' '! is tls'; do
        rc=0
        # shellcheck disable=SC2086
        t nbdinfo --${what#! } "$(u "$x")" 2>"$tmp/err" || rc=$?
        # 2 is no; a version that does not know the word says 1, and nothing of the server.
        case $what:$rc in
        '! '*:2 | [a-z]*:0) ;;
        *) fail "nbdinfo --${what#! }: exit status $rc: $(cat "$tmp/err")" ;;
        esac
    done
}

# nbdkit answers block status for every plugin: all of it is data.
case_nbdinfo_map_refused() {
    if [ "$kind" = engine ]; then
        refuses nbdinfo --map "$(u "$x")"
        must_match "$(cat "$tmp/refusal")" 'base:allocation'
    else
        must_match "$(t nbdinfo --map "$(u "$x")")" '^ +0 +67108864 +0 +data$'
    fi
}

# copied SOURCE WHAT [OPTION...]: what is on the export now is that.
copied() {
    local source=$1 what=$2
    shift 2
    rm -f "$tmp/back"
    t nbdcopy "$@" "$(u "$x")" "$tmp/back"
    cmp "$source" "$tmp/back" || fail "$what: other content came back"
}

case_nbdcopy() {
    local c r
    for c in 1 4; do
        for r in '' --request-size=4096 --request-size=65536; do
            t nbdcopy --connections=$c $r "$data" "$(u "$x")"
            copied "$data" "$c connections $r" --connections=$c $r
            t nbdcopy --connections=$c $r "$sparse" "$(u "$x")"
            copied "$sparse" "sparse, $c connections $r" --connections=$c $r
        done
    done
}

case_nbdcopy_otherwise() {
    t nbdcopy --synchronous "$data" "$(u "$x")"
    copied "$data" synchronous
    t nbdcopy --requests=1 --threads=1 --flush "$sparse" "$(u "$x")"
    copied "$sparse" "one request at a time"
    t nbdcopy --sparse=0 --allocated "$data" "$(u "$x")"
    copied "$data" allocated
    t nbdcopy --allocated "$sparse" "$(u "$x")" # zeros are written, not trimmed
    copied "$sparse" "sparse, written out"
    t nbdcopy "$(u "$x")" - | cmp - "$sparse" || fail "to a pipe: other content came back"
    t nbdcopy - "$(u "$x")" <"$data"
    copied "$data" "from a pipe"
    t nbdcopy "$small" "$(u "$y")"
    # From one export to the other, and a size that does not fit.
    t nbdcopy "$(u "$y")" "$(u "$x")"
    t nbdcopy "$(u "$x")" "$tmp/back"
    cmp -n 16777216 "$tmp/back" "$small" || fail "from one export to another: other content came back"
    refuses nbdcopy "$data" "$(u "$y")"
}

# The whole of an export it asks for in larger pieces than any server's maximum, which it does not look at: nbdkit gives them, the engine
# does not.
case_nbddump() {
    t nbdcopy "$small" "$(u "$y")"
    t nbddump --length=131072 "$(u "$y")" >"$tmp/dump"
    must_match "$(tr -s ' ' <"$tmp/dump" | head -n 1)" "^0000000000: $(head -c 16 "$small" | od -An -tx1 | sed 's/^ //') "
    [ "$(grep -c . "$tmp/dump")" = 8192 ] || fail "$(tail -n 3 "$tmp/dump")"
}

# The system's python: another one that is found first does not have the module.
nbdsh() { PATH=/usr/bin:$PATH timeout -k 5 150 nbdsh "$@"; }

case_nbdsh() {
    nbdsh -u "$(u "$x")" -c '
import os
assert h.get_size() == 64 << 20
assert h.get_protocol() == "newstyle-fixed"
assert not h.get_tls_negotiated()
assert h.get_block_size(nbd.SIZE_MINIMUM) == 4096
largest = h.get_block_size(nbd.SIZE_MAXIMUM)
a, b = os.urandom(largest), os.urandom(4096)
h.pwrite(a, 0)
h.pwrite(b, 64 << 10, nbd.CMD_FLAG_FUA)
assert h.pread(largest, 0) == a[:64 << 10] + b + a[(64 << 10) + 4096:]
h.zero(4096, 0, nbd.CMD_FLAG_NO_HOLE)
h.trim(4096, 4096)
h.flush()
assert h.pread(8192, 0) == bytearray(8192)
# In flight by the hundred.
buffers = [nbd.Buffer.from_bytearray(bytearray([i & 255]) * 4096) for i in range(400)]
cookies = [h.aio_pwrite(b, i * 4096) for i, b in enumerate(buffers)]
while h.aio_in_flight():
    h.poll(-1)
assert all(h.aio_command_completed(c) for c in cookies)
reads = [nbd.Buffer(4096) for i in range(400)]
cookies = [h.aio_pread(b, i * 4096) for i, b in enumerate(reads)]
while h.aio_in_flight():
    h.poll(-1)
assert all(h.aio_command_completed(c) for c in cookies)
assert all(r.to_bytearray() == b.to_bytearray() for r, b in zip(reads, buffers))
# What is wrong is refused by the server, and what comes after is right.
h.set_strict_mode(0)
for wrong in [lambda: h.pread(512, 0), lambda: h.pwrite(b"x" * 512, 512), lambda: h.pread(4096, 64 << 20),
              lambda: h.trim(4096, 1), lambda: h.cache(4096, 0)]:
    try:
        wrong()
        assert False
    except nbd.Error as e:
        assert e.errnum in (22, 28), e
assert h.pread(4096, 399 * 4096) == bytearray([399 & 255]) * 4096
h.shutdown()
'
    # Option mode: declined things, a name that is not there, then the right one.
    nbdsh --opt-mode -c "
h.connect_uri('$(u "$x")')
h.set_export_name('no-such-export')
try:
    h.opt_go()
    assert False
except nbd.Error as e:
    pass
assert [h.opt_list(lambda name, text: 0)] == [2]
h.set_export_name('$x')
h.opt_info()
assert h.get_size() == 64 << 20
h.opt_go()
assert len(h.pread(4096, 0)) == 4096
h.shutdown()
"
}

case_nbdfuse() {
    [ -c /dev/fuse ] || skip "no /dev/fuse here"
    mkdir "$tmp/mnt"
    nbdfuse --pidfile "$tmp/fuse.pid" "$tmp/mnt" "$(u "$x")" >"$tmp/fuse.log" 2>&1 &
    cleanup_fn fuse_end $!
    fuse_there() { [ -s "$tmp/fuse.pid" ] || ! kill -0 $! 2>/dev/null; }
    wait_until 30 fuse_there
    if ! [ -s "$tmp/fuse.pid" ]; then
        grep -qiE 'permitted|permission|fusermount' "$tmp/fuse.log" && skip "nothing can be mounted here: $(tail -n 1 "$tmp/fuse.log")"
        fail "nbdfuse: $(cat "$tmp/fuse.log")"
    fi
    [ "$(stat -c %s "$tmp/mnt/nbd")" = 67108864 ] || fail "size"
    t dd if="$data" of="$tmp/mnt/nbd" bs=128k conv=notrunc,fsync status=none
    cmp "$data" "$tmp/mnt/nbd" || fail "other content came back"
    umount "$tmp/mnt"
    copied "$data" "through a file system in user space"
}
fuse_end() {
    umount -l "$tmp/mnt" 2>/dev/null
    end_process "$1"
}

# ---- qemu ----

case_qemu_img() {
    must_match "$(t qemu-img info -f raw "$(u "$x")")" 'virtual size: 64 MiB'
    t qemu-img convert -n -f raw -O raw "$data" "$(u "$x")"
    t qemu-img compare -f raw -F raw "$data" "$(u "$x")" || fail "other content came back"
    t qemu-img convert -f raw -O raw "$(u "$x")" "$tmp/back"
    cmp "$data" "$tmp/back" || fail "other content came back into a file"
    t qemu-img convert -n -S 4k -m 16 -W -f raw -O raw "$sparse" "$(u "$x")"
    t qemu-img compare -f raw -F raw "$sparse" "$(u "$x")" || fail "sparse: other content came back"
    rm -f "$tmp/back"
    # A format with its own metadata over the export.
    t qemu-img create -q -f qcow2 -o size=32M "$(u "$x")"
    t qemu-img convert -n -f raw -O qcow2 "$small" "$(u "$x")"
    t qemu-img check -q -f qcow2 "$(u "$x")"
    t qemu-img convert -f qcow2 -O raw "$(u "$x")" "$tmp/back"
    cmp -n 16777216 "$small" "$tmp/back" || fail "qcow2: other content came back"
    must_match "$(t qemu-img bench -w -f raw -c 4000 -d 64 -s 4096 "$(u "$x")")" 'Run completed'
    must_match "$(t qemu-img bench -w -f raw -c 200 -d 8 -s 131072 --flush-interval=50 "$(u "$x")")" 'Run completed'
    must_match "$(t qemu-img bench -f raw -c 4000 -d 64 -s 4096 "$(u "$x")")" 'Run completed'
    must_match "$(t qemu-img bench -t none -f raw -c 500 -d 1 -s 65536 "$(u "$x")")" 'Run completed'
}

case_qemu_io() {
    local out
    out=$(t qemu-io -f raw "$(u "$x")" -c 'write -P 0xa5 0 1M' -c 'discard 64k 64k' -c 'write -z 256k 4k' -c 'write -z -u 512k 64k' \
        -c 'write -f -P 0x11 640k 4k' -c 'aio_write -P 0x5a 2M 2M' -c 'aio_write -P 0x66 8M 4k' -c 'aio_read -q 16M 1M' -c aio_flush \
        -c 'writev -P 0x77 20M 4k 8k 64k' -c 'readv -P 0x77 20M 8k 68k' -c 'read -P 0xa5 0 64k' -c 'read -P 0 64k 64k' \
        -c 'read -P 0xa5 128k 128k' -c 'read -P 0 256k 4k' -c 'read -P 0 512k 64k' -c 'read -P 0x11 640k 4k' -c 'read -P 0x5a 2M 2M' \
        -c 'read -P 0x66 8M 4k' -c 'aio_write -z 2M 1M' -c 'aio_flush' -c 'read -P 0 2M 1M' -c 'read -P 0x5a 3M 1M' \
        -c 'discard 0 64M' -c 'read -P 0 0 16M' -c flush 2>&1) || fail "$out"
    must_match "$out" 'read 16777216/16777216'
    ! grep -qiE 'fail|error|mismatch' <<<"$out" || fail "$out"
    # It aligns what is not: reads, changes, writes.
    out=$(t qemu-io -f raw "$(u "$x")" -c 'write -P 0x22 512 1k' -c 'read -P 0x22 512 1k' -c 'read -P 0 0 512' -c 'read -P 0 1536 2560' 2>&1) || fail "$out"
    ! grep -qiE 'fail|error|mismatch' <<<"$out" || fail "$out"
    if out=$(t qemu-io -f raw "$(u "$x")" -c 'read 64M 4k' 2>&1); then fail "a read beyond the end: $out"; fi
    # Bad pages are seen, or this case could not fail.
    if out=$(t qemu-io -f raw "$(u "$x")" -c 'read -P 0x23 512 1k' 2>&1); then fail "a wrong pattern is not seen: $out"; fi
}

# ---- fio ----

# verified NAME ARG...: fio writes, and finds what it wrote.
verified() {
    local name=$1
    shift
    t fio --name="$name" --ioengine=nbd --uri="$(u "$x")" --verify=xxhash --do_verify=1 --verify_fatal=1 --randrepeat=1 --group_reporting \
        "$@" --output="$tmp/fio" 2>"$tmp/fio.err" || fail "$name:"$'\n'"$(cat "$tmp/fio" "$tmp/fio.err")"
    must_match "$(cat "$tmp/fio")" 'err= 0' "$name"
    must_match "$(cat "$tmp/fio")" 'READ: bw=' "$name"
}

case_fio() {
    verified depth-1 --rw=randwrite --bs=4k --iodepth=1 --size=8M
    verified depth-32 --rw=randwrite --bs=4k --iodepth=32 --size=64M
    verified depth-128 --rw=randwrite --bs=4k --iodepth=128 --size=32M
    verified sequential --rw=write --bs=128k --iodepth=8 --size=64M
    verified mixed-sizes --rw=randwrite --bsrange=4k-128k --bs_unaligned=0 --blockalign=4k --iodepth=16 --size=64M
    verified over-again --rw=randrw --rwmixread=30 --bs=4k --iodepth=32 --size=32M --loops=2
}

case_fio_jobs() {
    verified four-jobs --rw=randwrite --bs=4k --iodepth=16 --numjobs=4 --size=16M --offset_increment=16M
    verified eight-jobs --rw=randwrite --bs=64k --iodepth=4 --numjobs=8 --size=8M --offset_increment=8M
    t fio --name=trims --ioengine=nbd --uri="$(u "$x")" --rw=randtrimwrite --bs=4k --iodepth=8 --size=16M --output="$tmp/fio" ||
        fail "trims: $(cat "$tmp/fio")"
    must_match "$(cat "$tmp/fio")" 'TRIM: bw='
}

case_random_load() {
    t "$nbdload" "$(u "$x")" 1 1 3000
    t "$nbdload" "$(u "$x")" 1 64 10000
    t "$nbdload" "$(u "$x")" 8 16 20000
}

# ---- nbdkit's nbd plugin in front ----

case_proxy() {
    local p
    nbdkit -f -U "$tmp/proxy" -P "$tmp/proxy.pid" nbd uri="$(u "$x")" "$@" >"$tmp/proxy.log" 2>&1 &
    cleanup_fn end_process $!
    wait_until 30 test -s "$tmp/proxy.pid"
    p="nbd+unix:///?socket=$tmp/proxy"
    must_match "$(t nbdinfo "$p")" 'export-size: 67108864'
    t nbdcopy "$data" "$p"
    t nbdcopy "$p" "$tmp/back"
    cmp "$data" "$tmp/back" || fail "other content came back"
    t fio --name=proxy --ioengine=nbd --uri="$p" --rw=randwrite --bs=4k --iodepth=32 --size=16M --verify=xxhash --do_verify=1 \
        --verify_fatal=1 --output="$tmp/fio" || fail "$(cat "$tmp/fio")"
    must_match "$(cat "$tmp/fio")" 'err= 0'
    t "$nbdload" "$p" 4 16 5000
}

case_proxy_with_shared_connection() { case_proxy shared=true; }

# ---- nbd-client (the rest of it is tests/interop/test-kernel.sh) ----

case_nbd_client_list() {
    case $address in
    unix:*) skip "nbd-client lists over TCP only" ;;
    esac
    t nbd-client -l "${address%:*}" "${address##*:}" >"$tmp/list" 2>&1 || fail "$(cat "$tmp/list")"
    for e in "$x" "$y"; do must_match "$(cat "$tmp/list")" "^$e( |\$)"; done
}

# ---- whose export it is ----

case_second_client_refused() {
    mkfifo "$tmp/go"
    "$nbdcmd" "$(u "$x" one)" write 0 4k 1 pause read 0 4k 1 <"$tmp/go" >"$tmp/said" &
    local client=$!
    exec 5>"$tmp/go"
    wait_until 30 grep -q paused "$tmp/said"
    t "$nbdcmd" "$(u "$x" one)" read 0 4k 1
    refuses "$nbdcmd" "$(u "$x" two)" read 0 4k 1
    wait_until 10 grep -qE "$x.*in use by client one.* since" "$server_log"
    refuses "$nbdcmd" "$(u "$x")" read 0 4k 1
    t "$nbdcmd" "$(u "$y" two)" write 0 4k 2 read 0 4k 2
    echo go >&5
    exec 5>&-
    wait "$client" || fail "the first client was disturbed"
    free() { t "$nbdcmd" "$(u "$x" two)" read 0 4k 1; }
    wait_until 30 free
    free_of_two() { t nbdinfo --size "$(u "$x")"; }
    wait_until 30 free_of_two
    free_of_two_there() { t nbdinfo --size "$(u "$y")"; }
    wait_until 30 free_of_two_there
}

case_bad_names_refused() {
    local bad
    for bad in no-such-export "$x%3Fcolour=red" "$x%3Fclient=" "$x%3Fclient=a%20b%0A" ..%2F"$x" "$x%2F" "%3F"; do
        refuses nbdinfo --size "$(u "$bad")"
    done
    wait_until 10 grep -q 'no-such-export' "$server_log"
}

# ---- a client that does not read its replies ----

rss() { awk '/^VmRSS/ { print $2 }' "/proc/$(serving_pid)/status"; }

case_a_client_that_never_reads() {
    local before after
    # Warm: what a server allocates once is not what is looked for.
    t "$nbdload" "$(u "$x")" 4 16 2000
    before=$(rss)
    mkfifo "$tmp/go"
    t "$builddir/tests/interop/protocol" "$address" "$x" never-reads <"$tmp/go" >"$tmp/said" 2>"$tmp/err" &
    local client=$!
    exec 5>"$tmp/go"
    stuck() { grep -q stuck "$tmp/said" || ! kill -0 "$client" 2>/dev/null; }
    wait_until 60 stuck
    grep -q stuck "$tmp/said" || fail "$(cat "$tmp/err")"
    # The other export, and another connection to this one, go on; and the load goes nowhere near the first pages of either.
    t "$nbdload" "$(u "$y")" 2 16 5000
    t "$nbdcmd" "$(u "$x")" write 32M 256k 7 read 32M 256k 7
    t fio --name=beside --ioengine=nbd --uri="$(u "$y")" --rw=randread --bs=4k --iodepth=32 --size=16M --output="$tmp/fio"
    after=$(rss)
    echo "$(cat "$tmp/said"); RSS $before KiB, then $after KiB"
    ((after - before < 24576)) || fail "from $before KiB to $after KiB"
    echo go >&5
    exec 5>&-
    wait "$client" || fail "$(cat "$tmp/err")"
}
