# SPDX-License-Identifier: BSD-3-Clause
exampledir = $(sysconfdir)/nbdswap
dist_example_DATA = conf/nbdswapd.conf.example
systemdsystemunit_DATA = conf/nbdswapd.service
EXTRA_DIST += conf/nbdswapd.service.in
CLEANFILES += conf/nbdswapd.service

conf/nbdswapd.service: conf/nbdswapd.service.in Makefile
	$(AM_V_GEN)$(MKDIR_P) conf && $(SED) -e 's|@sbindir[@]|$(sbindir)|g' -e 's|@sysconfdir[@]|$(sysconfdir)|g' \
		$(srcdir)/conf/nbdswapd.service.in > $@.tmp && mv $@.tmp $@
