# SPDX-License-Identifier: BSD-3-Clause
check_PROGRAMS += tests/plugin/nbdcmd tests/plugin/nbdload tests/plugin/noise
tests_plugin_nbdcmd_CPPFLAGS = $(AM_CPPFLAGS) $(LIBNBD_CFLAGS)
tests_plugin_nbdcmd_LDADD = $(LIBNBD_LIBS)
tests_plugin_nbdload_CPPFLAGS = $(AM_CPPFLAGS) $(LIBNBD_CFLAGS)
tests_plugin_nbdload_LDADD = $(LIBNBD_LIBS)

# A module to be preloaded, so shared although it is not installed.
check_LTLIBRARIES += countalloc.la
countalloc_la_SOURCES = tests/plugin/countalloc.c
countalloc_la_LDFLAGS = -module -avoid-version -shared -rpath /nowhere

PLUGIN_TESTS = \
	tests/plugin/test-advertised.sh \
	tests/plugin/test-allocation-shown.sh \
	tests/plugin/test-backend-errors.sh \
	tests/plugin/test-background.sh \
	tests/plugin/test-check-can-be-turned-off.sh \
	tests/plugin/test-clients.sh \
	tests/plugin/test-direct-io-only.sh \
	tests/plugin/test-directory.sh \
	tests/plugin/test-locked-memory.sh \
	tests/plugin/test-lost-pages.sh \
	tests/plugin/test-memlock-refused.sh \
	tests/plugin/test-never-rewritten.sh \
	tests/plugin/test-no-malloc.sh \
	tests/plugin/test-no-malloc-held.sh \
	tests/plugin/test-no-page-io.sh \
	tests/plugin/test-parameters.sh \
	tests/plugin/test-plugin-docs.sh \
	tests/plugin/test-requests.sh \
	tests/plugin/test-sealed-damage.sh \
	tests/plugin/test-sealed-keys.sh \
	tests/plugin/test-sealed-memory.sh \
	tests/plugin/test-sealed-noise.sh \
	tests/plugin/test-one-slot.sh \
	tests/plugin/test-second-client.sh \
	tests/plugin/test-stale-handle.sh
TESTS += $(PLUGIN_TESTS)
EXTRA_DIST += tests/plugin/plugin-functions.sh tests/plugin/damage.sh tests/plugin/sealed.sh $(PLUGIN_TESTS)

# The same tests on the native engine, where it is nothing of nbdkit that they are about.
PLUGIN_NATIVE_TESTS = \
	tests/plugin/test-backend-errors-native.sh \
	tests/plugin/test-check-can-be-turned-off-native.sh \
	tests/plugin/test-lost-pages-native.sh \
	tests/plugin/test-requests-native.sh \
	tests/plugin/test-sealed-noise-native.sh
TESTS += $(PLUGIN_NATIVE_TESTS)
EXTRA_DIST += tests/plugin/on-engine.sh $(PLUGIN_NATIVE_TESTS)
