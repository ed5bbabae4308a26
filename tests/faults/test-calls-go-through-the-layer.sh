#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Every call that the store makes of the system for a backing file is one of store/sys.h, or no test could make it fail.
. "${srcdir:-.}/tests/functions.sh" || exit 1

calls='open|openat|openat2|creat|read|write|pread|pwrite|preadv|pwritev|preadv2|pwritev2|fsync|fdatasync|sync_file_range|fstat|stat|lstat|fstatat|statx|ftruncate|truncate|fallocate|posix_fallocate|fcntl|flock|ioctl|lseek|fstatfs|statfs|fstatvfs|statvfs|unlink|unlinkat|rename|link|fchmod|fchown|fgetxattr|fsetxattr|syscall'
# bare DIR: calls outside of comments that have no sys_ in front, but for those of the layer itself.
bare() {
    local f
    for f in "$1"/*.[ch]; do
        case ${f##*/} in
        sys.h | fault.c | faultio.c) continue ;;
        # Memory of its own (a memfd), and a key's file: neither is a backing file.
        table.c | sealkey.c | lockedmem.c) continue ;;
        esac
        sed -E 's,/\*.*\*/,,; /^[ \t]*(\/\*|\*)/d' "$f" | grep -nE "(^|[^A-Za-z0-9_.>\"\`])($calls)\\(" | sed "s,^,${f##*/}: ," || true
    done
}

# It finds one where there is one.
mkdir "$tmp/bad"
printf 'void f(int fd)\n{\n\tif (fsync(fd) < 0)\n\t\treturn;\n}\n' >"$tmp/bad/x.c"
[ -n "$(bare "$tmp/bad")" ] || fail "this test does not find a bare call"

found=$(bare "$srcdir/store")
[ -z "$found" ] || fail "calls that no fault can reach; use store/sys.h:"$'\n'"$found"
