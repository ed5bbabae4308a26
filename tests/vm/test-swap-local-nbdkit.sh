#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# test-swap-local.sh on nbdkit, whatever the daemon takes by default.
export ENGINE=nbdkit
. "${srcdir:-.}/tests/vm/test-swap-local.sh"
