# SPDX-License-Identifier: BSD-3-Clause
# Every parameter that the plugin's help prints is in its man page, every one in the man page is in the help, and the plugin takes each.
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1
pod=$srcdir/plugin/nbdkit-swap-plugin.1.pod

help=$(env ${preload:+LD_PRELOAD="$preload"} "$nbdkit" --help "$plugin" | sed -nE 's/^\[?([a-z-]+)=\]?<.*/\1/p' | sort)
# Only the list of parameters, not the names within allow=.
page=$(sed -n '/^=head1 PARAMETERS/,/^=head1 THREADS/p' "$pod" | sed -nE 's/^=item \[?B<([a-z-]+)=>.*/\1/p' | sort)
[ "$(wc -w <<<"$help")" -ge 8 ] || fail "the help has only: $help"
diff <(echo "$help") <(echo "$page") || fail "help (<) and man page (>) differ"

for p in $help; do
    grep -qE "^ +nbdkit.*$p=|^ +.*\[$p=" <(sed -n '/^=head1 SYNOPSIS/,/^=head1 DESCRIPTION/p' "$pod" | sed 's/\[file=\]/file=/') ||
        fail "$p= is not in the synopsis"
    # A parameter that the plugin does not know is refused with these words.
    out=$(run_nbdkit "$p=" colour=red 2>&1 </dev/null) || true
    ! grep -q "$p=.*is not a parameter" <<<"$out" || fail "the plugin does not take $p="
done
for name in memlock oom io-flusher; do
    grep -q "^=item B<$name>" "$pod" || fail "allow=$name is not in the man page"
done
podchecker "$pod" >/dev/null 2>&1 || ! command -v podchecker >/dev/null || fail "podchecker: $(podchecker "$pod" 2>&1)"
