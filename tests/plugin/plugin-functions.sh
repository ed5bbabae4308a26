# SPDX-License-Identifier: BSD-3-Clause
# For tests of the plugin: nbdkit with it on a Unix socket, and clients.
# shellcheck shell=bash disable=SC2034,SC2154
. "${srcdir:-.}/tests/functions.sh" || exit 1

plugin=$builddir/.libs/nbdkit-swap-plugin.so
nbdkit=$(PATH=$PATH:/usr/sbin command -v nbdkit) || skip "needs: nbdkit"
nbdcmd=$builddir/tests/plugin/nbdcmd
nbdload=$builddir/tests/plugin/nbdload
log=$tmp/log
sock=$tmp/sock
uri="nbd+unix:///?socket=$sock"

# Backing files lie on the build tree's file system: /tmp may be a tmpfs, which proves nothing.
disk=$(mktemp -d "$builddir/test-disk.XXXXXX")
cleanup_fn rm -rf "$disk"

# The sandbox of a test seldom has CAP_SYS_RESOURCE; what memory locking promises is tested by tests that ask for it.
allow=oom,io-flusher
[ "$(id -u)" = 0 ] || allow=$allow,memlock

# A plugin with AddressSanitizer needs its library in the program that loads it; nbdkit itself is not checked.
preload=$(ldd "$plugin" | awk '/lib(asan|tsan)\.so/ { print $3 }')
sanitized=$preload
export LSAN_OPTIONS=detect_leaks=0 # nbdkit's own
[ -z "$sanitized" ] || allow=oom,io-flusher,memlock # sanitizers turn mlockall off

no_sanitizers() {
    [ -z "$sanitized" ] || skip "has no meaning under a sanitizer: $*"
}

# NBDKIT_OPTIONS, NBDKIT_WRAPPER and NBDKIT_STACK (KiB, the man page's advice) may be set by a test.
NBDKIT_OPTIONS=()
NBDKIT_WRAPPER=()
NBDKIT_STACK=${sanitized:+8192}
NBDKIT_STACK=${NBDKIT_STACK:-256}

# run_nbdkit ARG...: nbdkit with the plugin takes the place of this shell, so call it with & or in a subshell; $! is nbdkit then
# (or NBDKIT_WRAPPER).
run_nbdkit() {
    ulimit -s "$NBDKIT_STACK"
    exec env ${preload:+LD_PRELOAD="$preload"} "${NBDKIT_WRAPPER[@]}" "$nbdkit" -f -U "$sock" -P "$tmp/pid" \
        "${NBDKIT_OPTIONS[@]}" "$plugin" "$@"
}

# start_nbdkit ARG...: waits until it serves; $pid is nbdkit's.  What it says is in $log (added to).
start_nbdkit() {
    rm -f "$sock" "$tmp/pid"
    run_nbdkit "allow=$allow" "$@" </dev/null >>"$log" 2>&1 &
    job=$!
    cleanup_fn end_process "$job"
    wait_serving
    pid=$(cat "$tmp/pid")
    [ "$pid" = "$job" ] || cleanup_fn end_process "$pid"
}

wait_serving() {
    local n
    for ((n = 0; n < 1200; n++)); do
        [ -s "$tmp/pid" ] && "$nbdinfo" --can flush "$uri" >/dev/null 2>&1 && return
        kill -0 "$job" 2>/dev/null || fail "nbdkit has ended:"$'\n'"$(cat "$log")"
        sleep 0.05
    done
    fail "nbdkit does not serve:"$'\n'"$(cat "$log")"
}
nbdinfo=$(command -v nbdinfo) || skip "needs: nbdinfo (Debian: libnbd-bin)"

# stop_nbdkit [SIGNAL]: and waits for it.
stop_nbdkit() {
    local n
    kill "-${1:-TERM}" "$pid"
    # Under AddressSanitizer nbdkit was seen to hang in a library's exit handler, after the plugin had closed its files.
    if [ -n "$sanitized" ]; then
        for ((n = 0; n < 200; n++)); do
            [ -n "$(find "/proc/$pid/fd" -lname "$disk/*" 2>/dev/null)" ] || break
            sleep 0.05
        done
        kill -KILL "$pid" 2>/dev/null || true
    fi
    wait "$job" 2>/dev/null || true
    # With a wrapper the job is not nbdkit itself.
    wait_until 60 not_running "$pid"
}
not_running() {
    ! kill -0 "$1" 2>/dev/null
}

# refused REGEX ARG...: nbdkit must end with an error that matches, and not serve.
refused() {
    local want=$1 n limit=600 # of 50 ms
    shift
    # Under a sanitizer nbdkit may hang in a library's exit handler after it has refused.
    [ -z "$sanitized" ] || limit=60
    run_nbdkit "$@" </dev/null >"$tmp/refusal" 2>&1 &
    for ((n = 0; n < limit; n++)); do
        kill -0 $! 2>/dev/null || break
        sleep 0.05
    done
    kill -KILL $! 2>/dev/null && [ -z "$sanitized" ] && fail "not refused, it went on: $*"
    if wait $!; then fail "not refused: $*:"$'\n'"$(cat "$tmp/refusal")"; fi
    must_match "$(cat "$tmp/refusal")" "$want" "refusal of $*"
}

blocks() {
    stat -c %b "$1"
}

# ENGINE=native: the same on the engine.
if [ "${ENGINE:-}" = native ]; then . "$srcdir/tests/plugin/on-engine.sh"; fi
