#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Every option in --help is in the man page and back; so are the keys of the configuration.
. "${srcdir:-.}/tests/functions.sh" || exit 1

# long_options: those in a help text on stdin.  pod_options FILE: those that a man page has an =item for.
long_options() { grep -oE '^ +(-[a-z], )?--[a-z-]+' | grep -oE -- '--[a-z-]+' | sort -u; }
pod_options() { { grep -E "^=item" "$1" || true; } | { grep -oE -- "--[a-z-]+" || true; } | sort -u; }
same() {
    diff <(printf '%s\n' "$2") <(printf '%s\n' "$3") >"$tmp/diff" || fail "$1: only in --help (<) or in the man page (>):
$(cat "$tmp/diff")"
}

help=$("$builddir/server/nbdswapd" --help)
same nbdswapd "$(long_options <<<"$help")" "$(pod_options "$srcdir/server/nbdswapd.8.pod")"

pod=$srcdir/server/nbdswapctl.8.pod
commands=$("$builddir/server/nbdswapctl" --help | grep -oE '^  [a-z-]+ ' | tr -d ' ' | sort)
[ -n "$commands" ] || fail "nbdswapctl --help lists no commands"
same "nbdswapctl's commands" "$commands" "$(sed -n 's/^=head2 //p' "$pod" | sort)"
all=--version
for c in $commands; do
    opts=$("$builddir/server/nbdswapctl" "$c" --help | long_options)
    all+=$'\n'$opts
    # A command's own options stand under its heading; --socket and --help are common.
    sed -n "/^=head2 $c\$/,/^=head[12] /p" "$pod" >"$tmp/section"
    own=$(pod_options "$tmp/section")
    same "nbdswapctl $c" "$(grep -vxE -- '--(help|socket)' <<<"$opts" || true)" "$own"
    for o in $opts; do
        case $o in
        --help | --socket) ;;
        *) grep -qE "^B<nbdswapctl $c>.*B<$o>" "$pod" || fail "nbdswapctl $c $o is not in the synopsis" ;;
        esac
    done
done
same nbdswapctl "$(sort -u <<<"$all")" "$(pod_options "$pod")"

keys=$("$builddir/server/nbdswapd" --help-config | sed -n 's/^  \([a-z-]*\) = .*/\1/p' | sort)
[ -n "$keys" ] || fail "nbdswapd --help-config lists no keys"
same nbdswapd.conf "$keys" "$(sed -n 's/^=item B<\([a-z-]*\)> = .*/\1/p' "$srcdir/server/nbdswapd.conf.5.pod" | sort)"
