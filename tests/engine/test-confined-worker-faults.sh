#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# test-confined-worker.sh with a backend that gives errors: files opened anew, requests held.
set -- faults
. "${srcdir:-.}/tests/engine/test-confined-worker.sh"
