# SPDX-License-Identifier: BSD-3-Clause
# Tests by what they are about; each fragment adds to TESTS (host) or VM_TESTS (guests).
VM_TESTS =
LONG_TESTS =
EXTRA_DIST += tests/functions.sh
AM_TESTS_ENVIRONMENT = \
	srcdir='$(abs_top_srcdir)'; export srcdir; \
	builddir='$(abs_top_builddir)'; export builddir; \
	VERSION='$(VERSION)'; export VERSION;
TEST_EXTENSIONS = .sh
SH_LOG_COMPILER = bash
include $(top_srcdir)/tests/store/local.mk
include $(top_srcdir)/tests/faults/local.mk
include $(top_srcdir)/tests/plugin/local.mk
include $(top_srcdir)/tests/server/local.mk
include $(top_srcdir)/tests/server/successor.mk
include $(top_srcdir)/tests/interop/local.mk
include $(top_srcdir)/tests/engine/local.mk
include $(top_srcdir)/tests/engine/resume.mk
include $(top_srcdir)/tests/client/local.mk
include $(top_srcdir)/tests/vm/local.mk
include $(top_srcdir)/tests/bench/local.mk
include $(top_srcdir)/tests/fuzz/local.mk

# tests/test-sanitizers.sh builds the tree once more with sanitizers and runs in there the tests that are programs, and these:
SANITIZER_TESTS = \
	tests/plugin/test-backend-errors.sh \
	tests/plugin/test-clients.sh \
	tests/plugin/test-directory.sh \
	tests/plugin/test-lost-pages.sh \
	tests/plugin/test-requests.sh \
	tests/plugin/test-second-client.sh
TESTS += tests/test-sanitizers.sh
EXTRA_DIST += tests/test-sanitizers.sh
.PHONY: check-sanitizers print-sanitizers print-unit-tests print-installed-programs print-sanitizer-tests
check-sanitizers:
	$(MAKE) $(AM_MAKEFLAGS) check TESTS=tests/test-sanitizers.sh
print-sanitizers:
	@echo $(if $(findstring -fsanitize,$(HARDEN_CFLAGS)),yes,no)
print-unit-tests:
	@echo $(filter-out %.sh,$(TESTS))
print-installed-programs:
	@echo $(bin_PROGRAMS) $(sbin_PROGRAMS)
print-sanitizer-tests:
	@echo $(SANITIZER_TESTS)
clean-local:
	rm -rf sanitizers-address sanitizers-thread sanitizers-source \
		tests/fuzz/crashes tests/fuzz/found tests/fuzz/obj tests/fuzz/seeds


# Host tests run side by side; guest tests one at a time, alone.
check-host: $(check_PROGRAMS) $(check_LTLIBRARIES)
	$(MAKE) check-TESTS TESTS='$(filter-out $(VM_TESTS),$(TESTS))'
# Those that have a longer form, in it: hours.
check-long: all $(check_PROGRAMS) $(check_LTLIBRARIES)
	NBDSWAP_LONG=1 $(MAKE) check-TESTS TESTS='$(LONG_TESTS)'
print-tests:
	@printf '%s\n' $(TESTS)
.PHONY: check-host check-long print-tests

EXTRA_DIST += tests/demo/demo.sh
demo-programs: tests/vm/agent tests/vm/swapload tests/vm/vmctl
.PHONY: demo-programs
