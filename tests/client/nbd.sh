# SPDX-License-Identifier: BSD-3-Clause
# Sourced after tests/functions.sh by the client's tests: nbdkit servers and the program under test.
# shellcheck shell=bash
# shellcheck disable=SC2154 # tmp and builddir come from functions.sh

nbdswap=$builddir/client/nbdswap

# start_nbdkit NAME ARG...: serves on the Unix socket $tmp/NAME.sock, address in $(unix_uri NAME EXPORT).
start_nbdkit() {
    local name=$1
    shift
    nbdkit -f -U "$tmp/$name.sock" -P "$tmp/$name.pid" "$@" 2>"$tmp/$name.log" &
    cleanup_fn end_process $!
    wait_until 30 test -s "$tmp/$name.pid"
}

unix_uri() {
    echo "nbd+unix:///$2?socket=$tmp/$1.sock"
}

# listening_port PID: prints the TCP port that a process listens on.
listening_port() {
    ss -Hltnp | sed -nE "s/^LISTEN +[0-9]+ +[0-9]+ +[^ ]*:([0-9]+) .*pid=$1,.*/\1/p" | head -n 1 | grep .
}

# start_tcp_nbdkit VAR ARG...: serves on a port of the loopback that the kernel chooses; VAR becomes the port.
start_tcp_nbdkit() {
    local var=$1 pid
    shift
    command -v ss >/dev/null || skip "ss is not installed (Debian: iproute2)"
    nbdkit -f -i 127.0.0.1 -p 0 "$@" 2>"$tmp/tcp-$var.log" &
    pid=$!
    cleanup_fn end_process "$pid"
    wait_until 30 listening_port "$pid"
    printf -v "$var" %s "$(listening_port "$pid")"
}

# A server that takes names apart as nbdswap's do: only ws1?client=ID with an ID, an export of 4 MiB in the file
# $tmp/NAME.disk. READ: the command that reads (default: from the file).
start_identifying_server() {
    local name=$1 read=${2:-"dd if=$tmp/$1.disk iflag=skip_bytes,count_bytes skip=\$4 count=\$3 status=none"}
    truncate -s 4M "$tmp/$name.disk"
    start_nbdkit "$name" eval open="case \"\$3\" in 'ws1?client='?*) echo h ;; *) exit 1 ;; esac" \
        get_size="echo 4194304" pread="$read" can_write="exit 0" can_trim="exit 0" trim="exit 0" \
        pwrite="dd of=$tmp/$name.disk oflag=seek_bytes seek=\$4 conv=notrunc status=none"
}

# run_rc VAR_RC VAR_OUT CMD...: exit code and output (both streams) of a command that may fail.
run_rc() {
    local -n _rc=$1 _out=$2
    shift 2
    _rc=0
    # shellcheck disable=SC2034 # both are the caller's
    _out=$("$@" 2>&1) || _rc=$?
}

# expect RC REGEX CMD...: the command must end with this exit code and say that.
expect() {
    local want=$1 regex=$2 rc out
    shift 2
    run_rc rc out timeout 60 "$@"
    [ "$rc" = "$want" ] || fail "exit code $rc, not $want: $*"$'\n'"$out"
    must_match "$out" "$regex" "$*"
}
