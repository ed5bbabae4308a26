# SPDX-License-Identifier: BSD-3-Clause
# Has start_nbdkit and stop_nbdkit of plugin-functions.sh start nbdswapd with the native engine, for tests that know nothing of nbdkit but that.
# shellcheck shell=bash disable=SC2034,SC2154
requires test -x "$builddir/server/nbdswap-engine"
[ -z "$sanitized" ] || skip "under a sanitizer the plugin is tested"
export NBDCMD_SPLIT=yes # the engine takes no more at once than it says

# start_nbdkit file=FILE|dir=DIRECTORY KEY=VALUE...: exports have the names of their files.
start_nbdkit() {
    local arg name='' lines=() pool=''
    for arg; do
        case $arg in
        file=*)
            name=${arg##*/}
            lines+=("[export $name]" "file = ${arg#*=}")
            uri="nbd+unix:///$name?socket=$sock"
            ;;
        dir=*) for name in "${arg#*=}"/*; do lines+=("[export ${name##*/}]" "file = $name"); done ;;
        pool=*) pool="pool = ${arg#*=}" ;;
        size=* | check=* | seal=* | key=* | key-file=* | retry-time=*) lines+=("${arg%%=*} = ${arg#*=}") ;;
        allow=*) ;;
        *) fail "no export of nbdswapd has $arg" ;;
        esac
    done
    {
        printf '[server]\nlisten = unix:%s\ncontrol = %s/control\nengine = native\n' "$sock" "$tmp"
        case $plugin in
        *fault*) printf 'native = %s\n' "$builddir/server/nbdswap-engine-fault" ;;
        *) printf 'native = %s\n' "$builddir/server/nbdswap-engine" ;;
        esac
        printf '%s\n' "$pool" "${lines[@]}"
    } >"$tmp/nbdswapd.conf"
    "$builddir/server/nbdswapd" --no-keeper --config "$tmp/nbdswapd.conf" </dev/null >>"$log" 2>&1 &
    job=$!
    cleanup_fn end_process "$job"
    wait_until 120 exports_served
    [ "$(status '[.exports[].state]|unique|.[]')" = ready ] || fail "an export is not ready: $(cat "$log")"
    pid=$(status .worker.pid)
    is_engine "$(readlink "/proc/$pid/exe")"
}
status() { timeout 60 "$builddir/server/nbdswapctl" status --json --socket "$tmp/control" | jq -r "$1"; }
exports_served() {
    kill -0 "$job" 2>/dev/null || fail "nbdswapd has ended: $(cat "$log")"
    status '.worker.state == "ready" and ([.exports[].state]|all(. == "ready" or . == "failed"))' | grep -q true
}

# stop_nbdkit [SIGNAL]: KILL leaves neither the daemon nor the worker the time to end in order; any other ends both so.
stop_nbdkit() {
    if [ "${1:-TERM}" = KILL ]; then
        kill -KILL "$job" "$pid"
    else
        kill -TERM "$job"
    fi
    wait "$job" 2>/dev/null || true
    wait_until 60 not_running "$pid"
}
