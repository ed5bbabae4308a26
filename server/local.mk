# SPDX-License-Identifier: BSD-3-Clause
noinst_LTLIBRARIES += libserver.la
libserver_la_SOURCES = \
	server/activating.c server/adopting.c \
	server/conffile.c server/conffile.h \
	server/confkeys.c server/confkeys.h \
	server/control.c server/control.h \
	server/deactivate.c server/deactivate.h \
	server/daemon.c server/daemon.h \
	server/exportjob.h server/exportjobs.c server/exports.c server/exports.h \
	server/keeplease.c \
	server/engine/buffers.c server/engine/buffers.h \
	server/fdstore.c server/fdstore.h \
	server/holds.c server/holds.h \
	server/job.c server/job.h \
	server/jsontext.c server/jsontext.h \
	server/engine/sessmem.c server/engine/sessmem.h \
	server/keep.c server/keep.h \
	server/keepexport.c server/keepexport.h \
	server/keeper.c server/keeper.h \
	server/keeper_message.c server/keeper_message.h \
	server/keeper_socket.c server/keeper_socket.h \
	server/keeper_store.c server/keeper_store.h \
	server/listen.c server/listen.h \
	server/livesessions.c server/livesessions.h \
	server/log.c server/log.h \
	server/opens.c server/opens.h \
	server/ops.c server/ops.h \
	server/ops_pages.c server/ops_pages.h \
	server/poolmem.c server/poolmem.h \
	server/protect.c server/protect.h \
	server/reload.c server/reload.h \
	server/reload_worker.c server/reload_worker.h \
	server/reopen.c \
	server/scrubs.c server/scrubs.h \
	server/sessions.c server/sessions.h \
	server/spawn.c server/spawn.h \
	server/statefile.c server/statefile.h \
	server/status.c server/status.h \
	server/supervisor.c server/supervisor.h \
	server/takeover.c server/takeover.h \
	server/upgrade.c server/upgrade.h \
	server/waits.c server/waits.h \
	server/worker.c server/worker.h
server_paths = -DNBDKIT_PATH='"$(NBDKIT_PROGRAM)"' -DNBDKIT_PLUGINDIR='"$(NBDKIT_PLUGINDIR)"' \
	-DNATIVE_PATH='"$(libexecdir)/nbdswap/nbdswap-engine"'
libserver_la_CPPFLAGS = $(AM_CPPFLAGS) $(server_paths)
libserver_la_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) $(INIH_CFLAGS) $(SYSTEMD_CFLAGS)
libserver_la_LIBADD = libstore.la libcommon.la $(JANSSON_LIBS) $(INIH_LIBS) $(SYSTEMD_LIBS) $(EV_LIBS) -lpthread

sbin_PROGRAMS += server/nbdswapd
server_nbdswapd_SOURCES = server/nbdswapd.c
server_nbdswapd_CFLAGS = $(AM_CFLAGS) $(PROGRAM_CFLAGS) $(JANSSON_CFLAGS)
server_nbdswapd_LDFLAGS = $(AM_LDFLAGS) $(PROGRAM_LDFLAGS)
server_nbdswapd_LDADD = libserver.la

sbin_PROGRAMS += server/nbdswapctl
server_nbdswapctl_SOURCES = \
	server/ctl.h \
	server/ctl_activate.c \
	server/ctl_check.c \
	server/ctl_deactivate.c \
	server/ctl_client.c \
	server/ctl_lost.c \
	server/ctl_reload.c \
	server/ctl_reload_worker.c \
	server/ctl_reset.c \
	server/ctl_scrub.c \
	server/ctl_status.c \
	server/ctl_stop.c \
	server/ctl_upgrade.c \
	server/nbdswapctl.c
server_nbdswapctl_CFLAGS = $(AM_CFLAGS) $(PROGRAM_CFLAGS) $(JANSSON_CFLAGS)
server_nbdswapctl_LDFLAGS = $(AM_LDFLAGS) $(PROGRAM_LDFLAGS)
server_nbdswapctl_LDADD = libstore.la libcommon.la $(JANSSON_LIBS)

man_MANS += server/nbdswapd.8 server/nbdswapctl.8 server/nbdswapd.conf.5
EXTRA_DIST += server/nbdswapd.8.pod server/nbdswapctl.8.pod server/nbdswapd.conf.5.pod
CLEANFILES += server/nbdswapd.8 server/nbdswapctl.8 server/nbdswapd.conf.5
