#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# make bench-record: the results of the last `make bench` become those that docs/PERFORMANCE.md speaks of.  Its sentences are to be read
# again then: they are not made from the figures.
set -eu
cd "${builddir:?}"
[ -s bench.json ] || {
    echo "there are no results: run make bench first" >&2
    exit 1
}
mkdir -p "${srcdir:?}/docs/bench"
cp bench.json bench.txt bench-*.svg "$srcdir/docs/bench/"
