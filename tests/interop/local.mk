# SPDX-License-Identifier: BSD-3-Clause
# Interoperability: one list of cases (cases.sh and protocol.c) for every kind of server, which has a test here.
check_PROGRAMS += tests/interop/protocol
tests_interop_protocol_SOURCES = tests/interop/protocol.c tests/interop/wire.c tests/interop/wire.h \
	tests/interop/negotiation.c tests/interop/requests.c tests/interop/rude.c
tests_interop_protocol_CFLAGS = $(AM_CFLAGS)

INTEROP_TESTS = \
	tests/interop/test-engine.sh \
	tests/interop/test-flush-reaches-the-storage.sh \
	tests/interop/test-nbdkit.sh \
	tests/interop/test-plugin.sh
TESTS += $(INTEROP_TESTS)
EXTRA_DIST += tests/interop/cases.sh tests/interop/daemon.sh tests/interop/run.sh $(INTEROP_TESTS)

# In a guest, whose kernel is the client.
VM_TESTS += tests/interop/test-kernel.sh
EXTRA_DIST += tests/interop/test-kernel.sh
