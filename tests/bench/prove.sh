# SPDX-License-Identifier: BSD-3-Clause
# That the bench measures what it says: the server that answers is the one that was started, its file is open as it should be, data that
# goes in lies in the file (or, sealed, does not), and while it is measured the kernel counts the I/O that the row claims.
# Each of these prints why not and returns 1.
# shellcheck shell=bash disable=SC2154

# O_DIRECT as /proc/PID/fdinfo shows it, in octal: it differs between machines.
case $(uname -m) in
aarch64 | arm*) o_direct=0200000 ;;
ppc64*) o_direct=0400000 ;;
*) o_direct=040000 ;;
esac

# prove_listener PID URI: the socket that URI names is one that this process listens on.
prove_listener() {
    local pid=$1 uri=$2 inodes inode hex
    if [[ $uri = nbd+unix* ]]; then
        # Flags 00010000: listens.
        inodes=$(awk -v path="${uri#*socket=}" '$4 == "00010000" && $8 == path { print $7 }' /proc/net/unix)
    else
        hex=$(printf '0100007F:%04X' "$(sed 's,.*:\([0-9]*\).*,\1,' <<<"$uri")")
        inodes=$(awk -v local="$hex" '$2 == local && $4 == "0A" { print $10 }' /proc/net/tcp)
    fi
    for inode in $inodes; do
        if [ -n "$(find "/proc/$pid/fd" -lname "socket:\[$inode\]" 2>/dev/null)" ]; then return 0; fi
    done
    echo "process $pid does not listen on $uri"
    return 1
}

# prove_program PID BASE: it runs the program, and has the plugin, that BASE stands for.
prove_program() {
    local pid=$1 exe library=
    exe=$(readlink "/proc/$pid/exe")
    case $2 in
    engine-*) [[ $exe = */nbdswap-engine ]] ;;
    qemu-*) [[ $exe = */qemu-nbd ]] ;;
    nbd-server) [[ $exe = */nbd-server ]] ;;
    plain | checked | sealed | host) library=$plugin ;;
    file*) library=nbdkit-file-plugin.so ;;
    null) library=nbdkit-null-plugin.so ;;
    esac || {
        echo "process $pid is $exe and not $2"
        return 1
    }
    [ -z "$library" ] || grep -qF "$library" "/proc/$pid/maps" || {
        echo "process $pid ($exe) has not loaded $library"
        return 1
    }
}

# prove_direct PID FILE: every descriptor it has of FILE is one for direct I/O, and there is one.
prove_direct() {
    local fd flags found=
    for fd in "/proc/$1/fd"/*; do
        [ "$(readlink "$fd")" = "$2" ] || continue
        flags=$(awk '/^flags:/ { print $2 }' "/proc/$1/fdinfo/${fd##*/}")
        if (((flags & o_direct) == 0)); then
            # nbdkit and qemu-nbd may keep one that locks and moves nothing; it must not be what data goes through, which
            # prove_io sees.
            continue
        fi
        found=1
    done
    [ -n "$found" ] || echo "process $1 has no descriptor of $2 with O_DIRECT"
    [ -n "$found" ]
}

# prove_fill URI FILE BASE: writes the whole export through the server, and compares what then lies in the file.  The device is
# asked, not the cache: with a cache between, the kernel writes back first.
prove_fill() {
    local uri=$1 file=$2 base=${3#engine-} mib=8
    [ "$base" != sealed ] || mib=1
    nbdcopy --flush "$data" "$uri" >>"$log" 2>&1 || {
        echo "nbdcopy to $uri failed"
        return 1
    }
    # nbdcopy is cut short by a cmp that has seen enough.
    [ "$base" = null ] || { nbdcopy "$uri" - 2>>"$log" || true; } | cmp -s -n $((mib << 20)) - "$data" || {
        echo "what was written to $uri is not what is read"
        return 1
    }
    [ -n "$file" ] || return 0
    dd if="$file" bs=1M count=$mib iflag=direct status=none >"$tmp/stored"
    if [ "$base" = sealed ]; then
        # No page of it may be what was sent: compare by page and count those that are equal.
        if [ "$(pages_equal "$tmp/stored" "$data" $((mib * 256)))" != 0 ]; then
            echo "$file holds pages as they were sent: it is not sealed"
            return 1
        fi
    elif ! cmp -s -n $((mib << 20)) "$tmp/stored" "$data"; then
        echo "$file does not hold what was written to $uri"
        return 1
    fi
}
pages_equal() { # FILE FILE PAGES: pages whose bytes are all equal
    # cmp names the bytes that differ: pages that it does not name are equal.
    { cmp -l -n $(($3 * 4096)) "$1" "$2" || true; } | awk -v pages="$3" '
        { p = int(($1 - 1) / 4096); if (!(p in seen)) { seen[p] = 1; n++ } } END { print pages - n }'
}

# device_bytes PID: what the kernel counted for it (ended children included) as read from and written to devices; -1: it does not say.
device_bytes() {
    awk '/^(read_bytes|write_bytes):/ { n += $2 } END { printf "%.0f\n", n }' "/proc/$1/io" 2>/dev/null || echo -1
}

# prove_io HOW MOVED BYTES: MOVED bytes of device I/O were counted while clients moved BYTES.  HOW: direct, cached, records (of writes that are only entries), none.
prove_io() {
    local how=$1 moved=$2 bytes=$3
    ((moved >= 0)) || return 0
    case $how in
    # What was under way when fio stopped counting may be on either side.
    direct) ((moved * 100 >= bytes * 98)) || {
        echo "only $moved bytes of device I/O for $bytes bytes of requests"
        return 1
    } ;;
    records) ((moved > 0)) || {
        echo "no device I/O where records should be written"
        return 1
    } ;;
    none) ((moved * 100 <= bytes)) || {
        echo "$moved bytes of device I/O where there should be none"
        return 1
    } ;;
    esac
}
