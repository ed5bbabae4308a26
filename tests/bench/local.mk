# SPDX-License-Identifier: BSD-3-Clause
EXTRA_DIST += tests/bench/bench.sh
.PHONY: bench
bench: all tests/plugin/nbdload$(EXEEXT)
	$(AM_TESTS_ENVIRONMENT) bash $(top_srcdir)/tests/bench/bench.sh
