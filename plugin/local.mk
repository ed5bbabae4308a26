# SPDX-License-Identifier: BSD-3-Clause
nbdkitplugindir = $(NBDKIT_PLUGINDIR)
nbdkitplugin_LTLIBRARIES = nbdkit-swap-plugin.la
nbdkit_swap_plugin_la_SOURCES = \
	plugin/broker_local.c plugin/broker_local.h \
	plugin/params.c plugin/params.h \
	plugin/peer.c plugin/peer.h \
	plugin/swap.c
nbdkit_swap_plugin_la_CFLAGS = $(AM_CFLAGS) $(NBDKIT_CFLAGS) $(JANSSON_CFLAGS)
nbdkit_swap_plugin_la_LIBADD = libworker.la libstore.la $(JANSSON_LIBS)
nbdkit_swap_plugin_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared -no-undefined \
	-export-symbols-regex '^plugin_init$$'

# The same plugin over the store with faults, for tests.  Never installed: the rpath only makes it a shared object.
check_LTLIBRARIES += nbdkit-swapfault-plugin.la
nbdkit_swapfault_plugin_la_SOURCES = $(nbdkit_swap_plugin_la_SOURCES)
nbdkit_swapfault_plugin_la_CFLAGS = $(nbdkit_swap_plugin_la_CFLAGS)
nbdkit_swapfault_plugin_la_LIBADD = libworker.la libstore-fault.la $(JANSSON_LIBS)
nbdkit_swapfault_plugin_la_LDFLAGS = $(nbdkit_swap_plugin_la_LDFLAGS) -rpath /nowhere

man_MANS += plugin/nbdkit-swap-plugin.1
EXTRA_DIST += plugin/nbdkit-swap-plugin.1.pod
CLEANFILES += plugin/nbdkit-swap-plugin.1
