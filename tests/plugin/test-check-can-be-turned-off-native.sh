#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# test-check-can-be-turned-off.sh on the native engine (tests/plugin/on-engine.sh).
export ENGINE=native
. "${srcdir:-.}/tests/plugin/test-check-can-be-turned-off.sh"
