# SPDX-License-Identifier: BSD-3-Clause
# Guest tests (VM_TESTS) and the tests of their tools. vm.sh takes a lock, so that guest tests run one at a time
# whatever -j says; "make check-vm" runs them alone.
EXTRA_DIST += tests/vm/vm.sh tests/vm/kernel.sh tests/vm/mkinitramfs.sh tests/vm/init tests/vm/storage.sh \
	tests/vm/product.sh tests/vm/dm.sh tests/vm/riding.sh
CLEANFILES += tests/vm/.lock

check_PROGRAMS += tests/vm/agent tests/vm/memhog tests/vm/nbdmodel tests/vm/orphan tests/vm/swapload tests/vm/vmctl
tests_vm_agent_SOURCES = tests/vm/agent.c tests/vm/wire.h
tests_vm_agent_CFLAGS = $(AM_CFLAGS)
tests_vm_memhog_SOURCES = tests/vm/memhog.c
tests_vm_memhog_CFLAGS = $(AM_CFLAGS)
tests_vm_nbdmodel_SOURCES = tests/vm/nbdmodel.c
tests_vm_nbdmodel_CFLAGS = $(AM_CFLAGS) $(LIBNBD_CFLAGS)
tests_vm_nbdmodel_LDADD = $(LIBNBD_LIBS)
tests_vm_orphan_LDADD = libstore.la
tests_vm_swapload_SOURCES = tests/vm/swapload.c
tests_vm_swapload_CFLAGS = $(AM_CFLAGS) -O2
tests_vm_vmctl_SOURCES = tests/vm/vmctl.c tests/vm/wire.h
# Static: they run while memory is short and must not wait for pages of a shared library.
if !SANITIZERS
tests_vm_agent_LDFLAGS = $(AM_LDFLAGS) -all-static
tests_vm_memhog_LDFLAGS = $(AM_LDFLAGS) -all-static
tests_vm_swapload_LDFLAGS = $(AM_LDFLAGS) -all-static
endif

check_LTLIBRARIES += nbdkit-volatile-plugin.la
nbdkit_volatile_plugin_la_SOURCES = tests/vm/volatile.c
nbdkit_volatile_plugin_la_CFLAGS = $(AM_CFLAGS) $(NBDKIT_CFLAGS)
nbdkit_volatile_plugin_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared -rpath /nowhere

TESTS += tests/vm/test-swapload.sh
EXTRA_DIST += tests/vm/test-swapload.sh

VM_TESTS += tests/vm/test-harness.sh tests/vm/test-swap-local.sh tests/vm/test-swap-local-nbdkit.sh \
	tests/vm/test-swap-backends.sh tests/vm/test-refusals.sh tests/vm/test-io-shape.sh \
	tests/vm/test-orphans.sh tests/vm/test-orphan-races.sh tests/vm/test-power-cut.sh \
	tests/vm/test-server-starved.sh tests/vm/test-disk-faults.sh tests/vm/test-storage-faults.sh \
	tests/vm/test-ride-through.sh tests/vm/test-ride-through-kills.sh \
	tests/vm/test-ride-through-shortage.sh tests/vm/test-server-gone.sh
LONG_TESTS += tests/vm/test-orphan-races.sh tests/vm/test-orphans.sh tests/vm/test-ride-through.sh tests/vm/test-ride-through-kills.sh \
	tests/vm/test-ride-through-shortage.sh tests/vm/test-swap-backends.sh tests/vm/test-move-under-swap.sh tests/vm/test-power-cut.sh
TESTS += $(VM_TESTS)
EXTRA_DIST += $(VM_TESTS) tests/vm/test-move-under-swap.sh

check-vm: all $(check_PROGRAMS)
	$(MAKE) check-TESTS TESTS='$(VM_TESTS)'
.PHONY: check-vm
