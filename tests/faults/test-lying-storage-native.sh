#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# test-lying-storage.sh on the native engine (tests/plugin/on-engine.sh).
export ENGINE=native
. "${srcdir:-.}/tests/faults/test-lying-storage.sh"
