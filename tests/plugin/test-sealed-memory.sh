# SPDX-License-Identifier: BSD-3-Clause
# Nothing of a page or key gets out of the memory of a worker with a sealed export: key, table and pool are locked and left out of core
# dumps, a crash leaves no core file (that of a worker without seals does), and others of the same user cannot look into it.
. "${srcdir:-.}/tests/plugin/sealed.sh" || exit 1
no_sanitizers "memory is not locked there, and crashes are caught"

# flags NAME: VmFlags of each mapping of that name.
flags() {
    awk -v name="$1" '/^[0-9a-f]+-[0-9a-f]+ / { mine = index($0, name) } mine && /^VmFlags:/ { print }' "/proc/$pid/smaps"
}
expect_flags() {
    local name=$1 found
    shift
    found=$(flags "$name")
    [ -n "$found" ] || fail "there is no mapping $name"
    for flag; do
        ! grep -qv " $flag" <<<"$found" || fail "$name: not all of its mappings have the flag $flag:"$'\n'"$found"
    done
}
locked=(dd lo)
[[ $allow != *memlock* ]] || locked=(dd)

make_key "$tmp/key"
for key in key=ephemeral key-file="$tmp/key"; do
    rm -f "$disk/m"
    start_nbdkit file="$disk/m" size=4M "${sealed[@]}" "$key"
    "$nbdcmd" "$uri" text 0 4M 1 readtext 0 4M 1
    expect_flags memfd:nbdswap-key "${locked[@]}"
    expect_flags memfd:nbdswap-table "${locked[@]}"
    expect_flags "/dev/zero (deleted)" "${locked[@]}" # the pool
    stop_nbdkit
done

# dumped: has the job's end by SIGABRT left a core file (or been handed to a program that collects them)?
core_pattern=$(cat /proc/sys/kernel/core_pattern)
dumped() {
    rm -f "$sock" "$tmp/pid"
    # The shell that waits says so.
    (
        cd "$disk"
        ulimit -c unlimited
        ulimit -s "$NBDKIT_STACK"
        "$nbdkit" -f -U "$sock" -P "$tmp/pid" "$plugin" "allow=$allow" "$@" </dev/null >>"$log" 2>&1 &
        job=$!
        wait_serving
        "$nbdcmd" "$uri" text 0 64k 1
        kill -ABRT "$(cat "$tmp/pid")"
        wait "$job"
    ) 2>"$tmp/said" || true
    grep -q "Aborted" "$tmp/said" || fail "nbdkit was not aborted: $(cat "$tmp/said" "$log")"
    rm -f "$sock" "$tmp/pid" "$disk"/core*
    grep -q "core dumped" "$tmp/said"
}
rm -f "$disk/m"
if dumped file="$disk/m" size=1M; then
    rm "$disk/m"
    ! dumped file="$disk/m" size=1M "${sealed[@]}" || fail "a worker with a sealed export has dumped core"
else
    echo "no core dumps here ($core_pattern), so their absence proves nothing"
fi

# The files of an undumpable process in /proc are root's, whoever it runs as.
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
    chmod 711 "$disk" "$tmp"
    mkdir -m 700 "$tmp/user" "$disk/user"
    chown 65534:65534 "$tmp/user" "$disk/user"
    sock=$tmp/user/sock uri="nbd+unix:///?socket=$tmp/user/sock" log=$tmp/user/log
    NBDKIT_WRAPPER=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    owner() {
        stat -c %u "/proc/$pid/environ"
    }
    run_nbdkit() {
        ulimit -s "$NBDKIT_STACK"
        exec "${NBDKIT_WRAPPER[@]}" "$nbdkit" -f -U "$sock" -P "$tmp/user/pid" "$plugin" "$@"
    }
    pid=
    for seal in none aes-256-gcm; do
        rm -f "$disk/user/m" "$sock" "$tmp/user/pid"
        run_nbdkit allow=oom,io-flusher,memlock file="$disk/user/m" size=1M seal="$seal" </dev/null >>"$log" 2>&1 &
        job=$!
        cleanup_fn end_process "$job"
        wait_until 60 "$nbdinfo" --can flush "$uri"
        pid=$(cat "$tmp/user/pid")
        "$nbdcmd" "$uri" text 0 64k 1 readtext 0 64k 1
        case $seal in
        none) [ "$(owner)" = 65534 ] || fail "without a seal the files of the process in /proc belong to $(owner)" ;;
        *) [ "$(owner)" = 0 ] || fail "with a seal others of the same user can look into the process" ;;
        esac
        end_process "$job"
    done
fi
