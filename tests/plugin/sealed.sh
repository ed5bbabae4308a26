# SPDX-License-Identifier: BSD-3-Clause
# For tests of sealed exports.
# shellcheck shell=bash disable=SC2034,SC2154
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1
noise=$builddir/tests/plugin/noise
sealed=(seal=aes-256-gcm)

# make_key FILE
make_key() {
    (umask 077 && head -c 32 /dev/urandom >"$1")
}

. "$srcdir/tests/plugin/damage.sh"
