#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Every option of --help is in the man page, in the section of its command, and back.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/client/nbd.sh"

man=$srcdir/client/nbdswap.8.pod

# section NAME: the man page's text from =head1 NAME to the next one
section() {
    awk -v name="$1" '/^=head1 / { on = ($2 == name) } on' "$man"
}

for command in attach detach status check; do
    "$nbdswap" $command --help >"$tmp/help" || fail "$command --help"
    sed -nE 's/^ +(-., )?(--[a-z-]+).*/\2/p' "$tmp/help" | sort >"$tmp/help.options"
    section "${command^^}" | sed -nE 's/^=item .*B<(--[a-z-]+)>.*/\1/p' | sort >"$tmp/man.options"
    [ -s "$tmp/help.options" ] || fail "$command --help shows no options"
    diff -u "$tmp/help.options" "$tmp/man.options" || fail "$command: --help and man page differ"
    sed -nE 's/^ +(-.), (--[a-z-]+).*/\1 \2/p' "$tmp/help" | sort >"$tmp/help.short"
    section "${command^^}" | sed -nE 's/^=item B<(-.)>, B<(--[a-z-]+)>.*/\1 \2/p' | sort >"$tmp/man.short"
    diff -u "$tmp/help.short" "$tmp/man.short" || fail "$command: short options of --help and man page differ"
    must_match "$("$nbdswap" --help)" "^ +$command " "nbdswap --help"
done
section OPTIONS | sed -nE 's/^=item B<(--[a-z-]+)>.*/\1/p' | sort >"$tmp/man.options"
"$nbdswap" --help | sed -nE 's/^ +(--[a-z-]+).*/\1/p' | sort >"$tmp/help.options"
diff -u "$tmp/help.options" "$tmp/man.options" || fail "nbdswap --help and man page differ"

# The exit codes of the man page are those of the header.
section EXIT | sed -nE 's/^=item B<([0-9]+)>/\1/p' >"$tmp/man.codes"
sed -nE 's/^\tEX_[A-Z_]+ = ([0-9]+),.*/\1/p' "$srcdir/common/exitcodes.h" >"$tmp/header.codes"
diff -u "$tmp/header.codes" "$tmp/man.codes" || fail "exit codes of header and man page differ"

# The options of swaptab(5) are those that the parser names.
echo "nbd://h/x bogus=1" >"$tmp/swaptab"
run_rc rc out "$nbdswap" attach --dry-run --all --swaptab "$tmp/swaptab"
must_match "$out" 'known are '
sed -n 's/.*known are //p' <<<"$out" | sed 's/ and /, /' | tr -d ' ' | tr ',' '\n' | sort >"$tmp/parser.options"
sed -nE 's/^=item B<([a-z-]+)=?>.*/\1/p' "$srcdir/client/swaptab.5.pod" | sort >"$tmp/man.options"
diff -u "$tmp/parser.options" "$tmp/man.options" || fail "options of the parser and of swaptab(5) differ"

must_match "$("$nbdswap" --version)" "^nbdswap $VERSION\$"
