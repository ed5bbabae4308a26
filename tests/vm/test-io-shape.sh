#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What the native engine does to storage, seen from the kernel (strace sees no io_uring I/O): through its ring only the operations it was made
# for, on fixed files; at the disk only reads and writes of whole pages within the file's own blocks, and nothing else: no allocation, no
# journal. (Mounted with lazytime; without it a file system writes the file's time of change down every few seconds.) The file is open with
# O_DIRECT. Also here: what a worker gives up, on Debian's kernel.
. "${srcdir:-.}/tests/functions.sh" || exit 1
export ENGINE=native
. "$srcdir/tests/vm/vm.sh"
. "$srcdir/tests/vm/storage.sh"
. "$srcdir/tests/vm/product.sh"

vm_net server
vm_start server mem=384 disks="ext4:128 xfs:320"
vm_wait server
for test in test-confine test-confine-ring; do
    vm_run server 300 "$builddir/tests/engine/$test" >"$tmp/$test.log" 2>&1 || fail "$test"
done
say "what a worker gives up: as it should be"

t=/sys/kernel/tracing
vm_run server 60 "mount -t tracefs tracefs $t; echo 20000 >$t/buffer_size_kb"
vm_mkfs server ext4 ext4 /srv/ext4 lazytime,noinit_itable
vm_mkfs server xfs xfs /srv/xfs lazytime
allocations() {
    case $1 in
    ext4) echo "ext4/ext4_allocate_blocks ext4/ext4_fallocate_enter jbd2/jbd2_start_commit" ;;
    xfs) echo "xfs/xfs_iext_insert xfs/xfs_alloc_file_space xfs/xfs_iomap_alloc" ;;
    esac
}

# trace_on FS; trace_off OUT
trace_on() {
    vm_run server 60 "set -e; cd $t; echo >trace
        for e in block/block_rq_issue $(allocations "$1"); do echo 1 >events/\$e/enable; done
        for e in submit_sqe submit_req; do # its name until Linux 6.3, and after
            f=events/io_uring/io_uring_\$e/enable
            [ ! -e \$f ] || echo 1 >\$f
        done
        echo 1 >tracing_on" || fail "no tracing"
}
trace_off() {
    vm_run server 60 "cd $t; echo 0 >tracing_on; echo 0 >events/enable; cat trace" >"$1" || fail "no trace"
    ! grep -q 'LOST' "$1" || fail "events were lost"
}

# shape FS: counts what is in $tmp/trace, by what it is, and says what must not be.
shape() {
    local device
    device=$(vm_run server 60 "sed s/:/,/ /sys/class/block/\$(basename \$(readlink -f /dev/disk/by-id/virtio-$1))/dev")
    awk -v device="$device" '
        BEGIN { split("READ_FIXED WRITE_FIXED READV WRITEV FSYNC RECV RECVMSG POLL_ADD", w); for (i in w) known[w[i]] = 1; n = 0 }
        FILENAME ~ /extents$/ { # of filefrag, in sectors: logical, physical, length
            if (match($0, /^ +[0-9]+: /)) {
                gsub(/[.:]+/, " ")
                logical[n] = $2; physical[n] = $4; sectors[n] = $6; n++
            }
            next
        }
        /io_uring_submit_/ {
            op = $0; sub(/.*opcode /, "", op); sub(/,.*/, "", op)
            flags = $0; sub(/.* flags /, "", flags); sub(/,.*/, "", flags)
            ops++
            if (!(op in known) || flags != "0x1") { bad_ops++; print "operation " op ", flags " flags }
            next
        }
        /block_rq_issue: / {
            sub(/.*block_rq_issue: /, "")
            if ($1 != device) next
            if ($7 == 0) { flushes++; next }
            at = -1
            for (i = 0; i < n; i++)
                if ($5 >= physical[i] && $5 + $7 <= physical[i] + sectors[i]) at = logical[i] + $5 - physical[i]
            if (at >= 0 && at % 8 == 0 && $7 % 8 == 0 && $2 !~ /M/) { if ($2 ~ /W/) writes++; else reads++ }
            else if (at < 0 && $2 !~ /W/) other_reads++ # the file system looks at itself
            else { bad_io++; print "I/O " $0 }
            next
        }
        /: (ext4|xfs|jbd2)_/ { allocations++; print }
        END {
            printf "ops=%d bad_ops=%d reads=%d writes=%d flushes=%d bad_io=%d allocations=%d\n", ops, bad_ops, reads, writes, flushes, bad_io,
                allocations
        }' "$tmp/extents" "$tmp/trace" >"$tmp/shape"
    local word
    for word in $(tail -n 1 "$tmp/shape"); do printf -v "${word%%=*}" %s "${word#*=}"; done
}

for fs in ext4 xfs; do
    file=/srv/$fs/a
    swap_configure server '[export a]' "file = $file" 'size = 48M'
    swap_serve server
    worker=$(swap_status server --json | jq -r .worker.pid)
    is_engine "$(vm_run server 60 "readlink /proc/$worker/exe")"
    vm_run server 60 "sync; filefrag -v -b512 $file" >"$tmp/extents"
    grep -qE '^ +0: ' "$tmp/extents" || fail "no extents: $(cat "$tmp/extents")"
    before=$(vm_run server 60 "stat -c '%b %s' $file")
    trace_on $fs
    vm_run server 400 "$builddir/tests/plugin/nbdload nbd://127.0.0.1/a 2 8 3000 && sleep 6" >"$tmp/load" 2>&1 || # (ext4 commits every 5 s)
        fail "$fs: $(cat "$tmp/load")"
    trace_off "$tmp/trace"
    flags=$(vm_run server 60 "cd /proc/$worker/fdinfo; sed -n 's/^flags:[^0-9]*//p' \$(find ../fd -lname $file -printf '%f ')")
    [ -n "$flags" ] || fail "$fs: the worker has not got $file open"
    for f in $flags; do (((8#$f & 8#40000) != 0)) || fail "$fs: the worker's descriptor is not for direct I/O: flags 0$f"; done
    shape $fs
    say "$fs: $(tail -n 1 "$tmp/shape")"
    ((ops > 2000 && reads > 500 && writes > 500 && flushes > 10)) || fail "$fs: the load is not seen"
    [ "$bad_ops" = 0 ] || fail "$fs: the ring did what it should not: $(grep ^operation "$tmp/shape" | sort | uniq -c | head)"
    [ "$bad_io" = 0 ] || fail "$fs: I/O that is not of whole pages of the file: $(grep '^I/O' "$tmp/shape" | head)"
    [ "$allocations" = 0 ] || fail "$fs: the file system allocated or wrote its journal: $(grep -E '(ext4|xfs|jbd2)_' "$tmp/shape" | head)"
    [ "$(vm_run server 60 "stat -c '%b %s' $file")" = "$before" ] || fail "$fs: the file's blocks or length have changed"
    vm_run server 60 "filefrag -v -b512 $file" | cmp - "$tmp/extents" || fail "$fs: the extents have changed"

    # That allocation and the journal would have been seen.
    trace_on $fs
    vm_run server 60 "dd if=/dev/urandom of=/srv/$fs/b bs=64k count=8 status=none && sync /srv/$fs/b && sync -f /srv/$fs"
    trace_off "$tmp/trace"
    shape $fs
    ((bad_io > 0 && allocations > 0)) || fail "$fs: an allocating write is not seen: $(tail -n 1 "$tmp/shape")"
    swap_serve_end
done

vm_dmesg_clean server
vm_stop server
