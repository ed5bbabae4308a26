# SPDX-License-Identifier: BSD-3-Clause
# Tests by what they are about; each fragment adds to TESTS (host) or VM_TESTS (guests).
VM_TESTS =
EXTRA_DIST += tests/functions.sh
AM_TESTS_ENVIRONMENT = \
	srcdir='$(abs_top_srcdir)'; export srcdir; \
	builddir='$(abs_top_builddir)'; export builddir; \
	VERSION='$(VERSION)'; export VERSION;
TEST_EXTENSIONS = .sh
SH_LOG_COMPILER = bash
include $(top_srcdir)/tests/store/local.mk
include $(top_srcdir)/tests/plugin/local.mk
include $(top_srcdir)/tests/server/local.mk
include $(top_srcdir)/tests/client/local.mk
include $(top_srcdir)/tests/vm/local.mk

# Host tests run side by side; guest tests one at a time, alone.
check-host: $(check_PROGRAMS) $(check_LTLIBRARIES)
	$(MAKE) check-TESTS TESTS='$(filter-out $(VM_TESTS),$(TESTS))'
print-tests:
	@printf '%s\n' $(TESTS)
.PHONY: check-host print-tests

EXTRA_DIST += tests/demo/demo.sh
demo-programs: tests/vm/agent tests/vm/swapload tests/vm/vmctl
.PHONY: demo-programs
