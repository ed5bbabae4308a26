# SPDX-License-Identifier: BSD-3-Clause
# Everything but main.c is a library, so that the unit tests link what the program runs.
noinst_LTLIBRARIES += libclient.la
libclient_la_SOURCES = \
	client/attach.c \
	client/attach_one.c client/attach_one.h \
	client/blockqueue.c client/blockqueue.h \
	client/bootid.c client/bootid.h \
	client/check.c \
	client/command.h \
	client/detach.c \
	client/detach_lost.c client/detach_lost.h client/kernelmarks.c client/kernelmarks.h \
	client/direct.c client/direct.h \
	client/detach_one.c client/detach_one.h \
	client/exportask.c client/exportask.h \
	client/exportprobe.c client/exportprobe.h \
	client/exportsame.c client/exportsame.h \
	client/hibernation.c client/hibernation.h \
	client/holders.c client/holders.h \
	client/findings.c client/findings.h \
	client/latency.c client/latency.h \
	client/link.c client/link.h \
	client/linkevents.c client/linkevents.h \
	client/lookup.c client/lookup.h \
	client/meminfo.c client/meminfo.h \
	client/nbdclient.c client/nbdclient.h \
	client/nbddev.c client/nbddev.h \
	client/nbdnl.c client/nbdnl.h \
	client/negotiate.c client/negotiate.h \
	client/preflight_machine.c client/preflight_machine.h \
	client/preflight_server.c client/preflight_server.h \
	client/procswaps.c client/procswaps.h \
	client/reach.c client/reach.h \
	client/reconfigure.c client/reconfigure.h \
	client/roundtrip.c client/roundtrip.h \
	client/run.c client/run.h \
	client/say.c client/say.h \
	client/serverlook.c client/serverlook.h \
	client/session.c client/session.h \
	client/snapshot.c client/snapshot.h \
	client/socksent.c client/socksent.h \
	client/state.c client/state.h \
	client/status.c \
	client/strays.c client/strays.h \
	client/swaparea.c client/swaparea.h \
	client/swapctl.c client/swapctl.h \
	client/swapheader.c client/swapheader.h \
	client/swaplive.c client/swaplive.h \
	client/swaptab.c client/swaptab.h \
	client/uri.c client/uri.h \
	client/watchall.c \
	client/watchtalk.c client/watchtalk.h
libclient_la_CPPFLAGS = $(AM_CPPFLAGS)
libclient_la_CFLAGS = $(AM_CFLAGS) $(LIBNBD_CFLAGS) $(JANSSON_CFLAGS) $(NLGENL_CFLAGS) $(UUID_CFLAGS)
libclient_la_LIBADD = libcommon.la $(LIBNBD_LIBS) $(JANSSON_LIBS) $(NLGENL_LIBS) $(UUID_LIBS)

sbin_PROGRAMS += client/nbdswap
client_nbdswap_SOURCES = client/main.c
client_nbdswap_CFLAGS = $(AM_CFLAGS) $(PROGRAM_CFLAGS) $(JANSSON_CFLAGS)
client_nbdswap_LDFLAGS = $(AM_LDFLAGS) $(PROGRAM_LDFLAGS)
client_nbdswap_LDADD = libclient.la

man_MANS += client/nbdswap.8 client/swaptab.5
EXTRA_DIST += client/nbdswap.8.pod client/swaptab.5.pod
CLEANFILES += client/nbdswap.8 client/swaptab.5

# A program of its own, with no library but libc: all of it is locked, on machines that have little memory.
sbin_PROGRAMS += client/nbdswap-watch
client_nbdswap_watch_SOURCES = client/watch.c client/watching.c client/watching.h client/watchtalk.h \
	client/exportsame.c client/kernelmarks.c client/linkevents.c client/linkevents.h client/negotiate.c client/reach.c client/reconfigure.c \
	client/socksent.c client/strays.c
client_nbdswap_watch_LDFLAGS = $(AM_LDFLAGS) -Wl,--as-needed
client_nbdswap_watch_LDADD = libcommon.la
man_MANS += client/nbdswap-watch.8
EXTRA_DIST += client/nbdswap-watch.8.pod
CLEANFILES += client/nbdswap-watch.8
