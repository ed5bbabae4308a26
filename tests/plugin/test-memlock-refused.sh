# SPDX-License-Identifier: BSD-3-Clause
# A worker that cannot lock its memory says which right is missing and does not serve, unless allow=memlock is given.
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1
[ "$(id -u)" = 0 ] || skip "needs root to take a capability away"
requires setpriv --version

# CAP_IPC_LOCK alone is taken; the limit is what a service has by default.
NBDKIT_WRAPPER=(setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock)
ulimit -l 8192
"${NBDKIT_WRAPPER[@]}" sh -c 'grep CapEff /proc/self/status' >"$tmp/caps"
(((16#$(sed 's/.*\t//' "$tmp/caps") >> 14 & 1) == 0)) || skip "CAP_IPC_LOCK cannot be taken away here"
(((16#$(sed 's/.*\t//' "$tmp/caps") >> 1 & 1) == 1)) || fail "more than CAP_IPC_LOCK was taken"
message='needs CAP_IPC_LOCK or an unlimited RLIMIT_MEMLOCK \(now 8192 KiB.*allow=memlock'
refused "$message" file="$disk/m.swap" size=16M allow=oom,io-flusher
[ ! -e "$disk/m.swap" ] || fail "it was refused only after the file had been allocated"

# In the background too: the terminal sees it, and the exit code.
if out=$("${NBDKIT_WRAPPER[@]}" env ${preload:+LD_PRELOAD="$preload"} "$nbdkit" -U "$sock" -P "$tmp/pid" "$plugin" \
    file="$disk/m.swap" size=16M 2>&1); then
    end_process "$(cat "$tmp/pid")"
    fail "started in the background without the right to lock memory"
fi
must_match "$out" "$message"

# The other names do not stand for it.
for other in oom io-flusher; do refused "$message" file="$disk/m.swap" size=16M allow=$other; done

# Allowed by name it serves.
start_nbdkit file="$disk/m.swap" size=16M allow=memlock
"$nbdcmd" "$uri" write 0 64k 1 read 0 64k 1
stop_nbdkit

# With the capability the same limit is no hindrance.
NBDKIT_WRAPPER=()
start_nbdkit file="$disk/m.swap"
"$nbdcmd" "$uri" read 0 64k 1
