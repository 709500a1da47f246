# contrib: what is installed beside the programs, and the scripts.
ampdatadir = $(datadir)/cisco-amp
nodist_ampdata_DATA = contrib/cisco-amp.service contrib/ampmon.conf
dist_ampdata_DATA = contrib/etc/audit.conf contrib/etc/protect.conf \
	contrib/etc/blocked.list contrib/etc/allowed.list contrib/etc/exclusions.list \
	contrib/definitions/builtin.hdb
EXTRA_DIST += contrib/cisco-amp.service.in contrib/etc/ampmon.conf.in \
	contrib/quickstart contrib/check contrib/check-quickstart contrib/lib.sh contrib/valgrind.supp .ci/run \
	COPYING LICENSE-EXCEPTION .clang-format
CLEANFILES += contrib/cisco-amp.service contrib/ampmon.conf

AMP_SUBSTITUTE = sed -e 's|@bindir[@]|$(bindir)|g' -e 's|@sysconfdir[@]|$(sysconfdir)|g' \
	-e 's|@RUNDIR[@]|$(RUNDIR)|g' -e 's|@LOGDIR[@]|$(LOGDIR)|g' -e 's|@CLI_GROUP[@]|$(CLI_GROUP)|g'

contrib/cisco-amp.service: $(srcdir)/contrib/cisco-amp.service.in Makefile
	$(AM_V_GEN)$(MKDIR_P) contrib && $(AMP_SUBSTITUTE) $(srcdir)/contrib/cisco-amp.service.in >$@.tmp && mv $@.tmp $@
contrib/ampmon.conf: $(srcdir)/contrib/etc/ampmon.conf.in Makefile
	$(AM_V_GEN)$(MKDIR_P) contrib && $(AMP_SUBSTITUTE) $(srcdir)/contrib/etc/ampmon.conf.in >$@.tmp && mv $@.tmp $@

# A file an administrator has is never overwritten, and one he changed never removed.
amp_policy_files = audit.conf protect.conf blocked.list allowed.list exclusions.list
install-data-hook:
	$(MKDIR_P) '$(DESTDIR)$(sysconfdir)/policies'
	test -e '$(DESTDIR)$(sysconfdir)/ampmon.conf' || \
		$(INSTALL_DATA) contrib/ampmon.conf '$(DESTDIR)$(sysconfdir)/ampmon.conf'
	for f in $(amp_policy_files); do \
		test -e '$(DESTDIR)$(sysconfdir)/policies/'$$f || \
		$(INSTALL_DATA) $(srcdir)/contrib/etc/$$f '$(DESTDIR)$(sysconfdir)/policies/'$$f || exit 1; \
	done
uninstall-hook:
	for f in $(amp_policy_files); do \
		if cmp -s $(srcdir)/contrib/etc/$$f '$(DESTDIR)$(sysconfdir)/policies/'$$f; then \
			rm -f '$(DESTDIR)$(sysconfdir)/policies/'$$f; fi; \
	done
	if cmp -s contrib/ampmon.conf '$(DESTDIR)$(sysconfdir)/ampmon.conf'; then \
		rm -f '$(DESTDIR)$(sysconfdir)/ampmon.conf'; fi
	-rmdir '$(DESTDIR)$(sysconfdir)/policies' 2>/dev/null

# For contrib/check.
.PHONY: print-unit-tests print-fuzzers
print-unit-tests:
	@echo $(UNIT_TESTS)
print-fuzzers:
	@echo $(FUZZERS)

# System tests and what they import, whatever files there are.
dist-hook:
	$(MKDIR_P) '$(distdir)/tests/system'
	cp -p $(srcdir)/tests/system/*.py '$(distdir)/tests/system/'
