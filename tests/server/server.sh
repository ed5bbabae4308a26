# SPDX-License-Identifier: BSD-3-Clause
# A nbdswapd of the build tree for a test, with everything it makes in $tmp; to be read after tests/functions.sh.
# shellcheck shell=bash

nbdswapd=$builddir/server/nbdswapd
conf=$tmp/nbdswapd.conf
log=$tmp/log
server_pid=
export NBDCMD_SPLIT=yes # the engine takes no more at once than it says

# ctl COMMAND ARG...: nbdswapctl at this daemon.
ctl() {
    local cmd=$1
    shift
    timeout 60 "$builddir/server/nbdswapctl" "$cmd" --socket "$tmp/control" "$@"
}

# The sanitizer runtime that the programs were built with, if any: nbdkit was not, so that it must be loaded first to load the
# plugin.  (Its leaks are not ours to find.)
sanitizer=$(ldd "$nbdswapd" | awk '/lib(asan|tsan)\.so/ { print $3 }')
if [ -n "$sanitizer" ]; then export LSAN_OPTIONS=detect_leaks=0; fi

# allow_line: "allow = ..." where memory cannot be locked (sanitizers turn it off), else nothing.
allow_line() {
    if [ -n "$sanitizer" ]; then
        echo "allow = memlock oom io-flusher confine" # the sanitizers' own calls are not foreseen
    elif [ "$(id -u)" != 0 ]; then
        echo "allow = memlock oom io-flusher"
    fi
}

# requires_worker: skip unless what serves (ENGINE, see tests/functions.sh) can run here.
requires_worker() {
    requires_engine
}

# requires_backing: skip unless $tmp is on a file system that can hold backing files.
requires_backing() {
    case $(stat -f -c %T "$tmp") in
    ext2/ext3 | xfs) ;;
    *) skip "needs a temporary directory on ext4 or xfs (TMPDIR=...)" ;;
    esac
}

# make_conf [EXPORT LINES...]: the configuration with these lines behind [server] and [defaults]; server_lines adds to [server], or takes the
# place of what ENGINE says, and DEFAULT_LINES of the environment to [defaults] (`DEFAULT_LINES='survive = host' make check`).
server_lines=
wanted_engine_lines() {
    local key equals value
    engine_lines | while read -r key equals value; do
        grep -q "^$key = " <<<"$server_lines" || echo "$key $equals $value"
    done
}
make_conf() {
    {
        printf '[server]\nlisten = unix:%s/nbd.sock\ncontrol = %s/control\n' "$tmp" "$tmp"
        printf 'stop-timeout = 5\n'
        wanted_engine_lines
        allow_line
        printf '%s\n' "$server_lines"
        printf '[defaults]\nfile = %s/%%n.swap\nsize = 4M\n' "$tmp"
        [ -z "${DEFAULT_LINES-}" ] || printf '%s\n' "$DEFAULT_LINES"
        printf '%s\n' "$@"
    } >"$conf"
}

# faulty_worker: the worker of the configuration made becomes the one over the store with faults (store/fault.h), which look at files.
faulty_worker() {
    [ -e "$builddir/.libs/nbdkit-swapfault-plugin.so" ] && [ -e "$builddir/server/nbdswap-engine-fault" ] ||
        fail "the workers with faults were not built"
    sed -i 's,nbdkit-swap-plugin,nbdkit-swapfault-plugin,; s,nbdswap-engine$,nbdswap-engine-fault,' "$conf"
    if grep -q '^allow = ' "$conf"; then
        grep -q '^allow = .*confine' "$conf" || sed -i 's/^allow = /allow = confine /' "$conf"
    else
        sed -i '/^\[server\]/a allow = confine' "$conf"
    fi
}

# Without its keeper (test-keeper.sh is about that), so that the process started is the daemon, and a killed one stays dead.
daemon_options=(--no-keeper)

# start_server: starts it and waits until worker and control socket are there.
start_server() {
    launch_server
    wait_until 60 worker_ready
    is_engine "$(readlink "/proc/$(worker_pid)/exe")"
}

launch_server() {
    LD_PRELOAD=$sanitizer "$nbdswapd" "${daemon_options[@]}" --config "$conf" 2>>"$log" &
    server_pid=$!
    cleanup_fn end_process "$server_pid"
    cleanup_fn show_log
    wait_until 30 control_there
}

control_there() {
    kill -0 "$server_pid" 2>/dev/null || fail "nbdswapd ended: $(cat "$log")"
    test -S "$tmp/control"
}

worker_ready() { [ "$(field .worker.state)" = ready ]; }

# export_is NAME STATE
export_is() { [ "$(field ".exports[]|select(.name==\"$1\")|.state")" = "$2" ]; }

# field JQ-PATH: from the daemon's status.
field() { ctl status --json | jq -r "$1"; }

worker_pid() { field .worker.pid; }

show_log() { tail -n 200 "$log" | sed 's/^/log: /'; }

# wait_server: its exit status, once it has ended.
wait_server() {
    local rc=0 n
    for ((n = 0; n < 600; n++)); do
        kill -0 "$server_pid" 2>/dev/null || break
        sleep 0.05
    done
    kill -0 "$server_pid" 2>/dev/null && fail "nbdswapd did not end"
    wait "$server_pid" || rc=$?
    return "$rc"
}

# uri EXPORT [CLIENT-ID]
uri() { printf 'nbd+unix:///%s%s?socket=%s/nbd.sock' "$1" "${2:+%3Fclient%3D$2}" "$tmp"; }

# hold_open EXPORT CLIENT-ID: a client that stays attached until let_go CLIENT-ID; its pid is in held[CLIENT-ID].
declare -A held held_fd
hold_open() {
    local fd
    mkfifo "$tmp/held.$2"
    qemu-io -f raw "$(uri "$1" "$2")" <"$tmp/held.$2" >"$tmp/held.$2.out" 2>&1 &
    held[$2]=$!
    cleanup_fn end_process "$!"
    exec {fd}>"$tmp/held.$2"
    held_fd[$2]=$fd
    wait_until 30 client_is "$1" "$2"
}

client_is() { [ "$(field ".exports[]|select(.name==\"$1\")|.client")" = "$2" ]; }

let_go() {
    local fd=${held_fd[$1]}
    exec {fd}>&-
    wait "${held[$1]}" 2>/dev/null || true
    rm -f "$tmp/held.$1"
}

# May memory of processes here reach a swap device?  Then the daemon refuses sealed exports.
could_swap() {
    [ "$(wc -l </proc/swaps)" -gt 1 ] &&
        [ "$(cat "/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/memory.swap.max" 2>/dev/null)" != 0 ]
}
