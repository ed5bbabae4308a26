# SPDX-License-Identifier: BSD-3-Clause
TESTS += tests/bench/test-bench-proves-what-it-measures.sh
EXTRA_DIST += \
	docs/PERFORMANCE.md \
	docs/bench \
	tests/bench/test-bench-proves-what-it-measures.sh \
	tests/bench/bench.sh \
	tests/bench/loads.sh \
	tests/bench/memory.sh \
	tests/bench/plot.sh \
	tests/bench/prove.sh \
	tests/bench/record.sh \
	tests/bench/results.jq \
	tests/bench/servers.sh \
	tests/bench/table.jq
CLEANFILES += bench.json bench.txt bench-random.svg bench-large.svg bench-latency.svg bench-cpu.svg
.PHONY: bench bench-record
bench: all tests/plugin/nbdload$(EXEEXT) tests/plugin/nbdcmd$(EXEEXT)
	$(AM_TESTS_ENVIRONMENT) bash $(top_srcdir)/tests/bench/bench.sh
bench-record:
	$(AM_TESTS_ENVIRONMENT) bash $(top_srcdir)/tests/bench/record.sh
