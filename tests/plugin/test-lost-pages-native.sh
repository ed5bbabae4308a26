#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# test-lost-pages.sh on the native engine (tests/plugin/on-engine.sh).
export ENGINE=native
. "${srcdir:-.}/tests/plugin/test-lost-pages.sh"
