# ampcli: client of the services' sockets. Everything but main is in
# a library, so that tests link it.
noinst_LIBRARIES += ampcli/libampcli.a
ampcli_libampcli_a_SOURCES = \
	ampcli/cli.c ampcli/cli.h \
	ampcli/client.c ampcli/client.h \
	ampcli/cmd_engine.c ampcli/cmd_history.c ampcli/cmd_policy.c ampcli/cmd_posture.c \
	ampcli/cmd_quarantine.c ampcli/cmd_scan.c ampcli/cmd_status.c \
	ampcli/commands.c ampcli/commands.h \
	ampcli/complete.c ampcli/complete.h \
	ampcli/engine_view.h \
	ampcli/lines_file.c ampcli/lines_file.h \
	ampcli/out.c ampcli/out.h \
	ampcli/progress.c ampcli/progress.h \
	ampcli/scan_view.c ampcli/scan_view.h \
	ampcli/scan_wait.c ampcli/scan_wait.h \
	ampcli/shell.c ampcli/shell.h \
	ampcli/shell_edit.c ampcli/shell_edit.h \
	ampcli/vault_entry.c ampcli/vault_entry.h \
	ampcli/words.c ampcli/words.h

# libampcli and what it needs.
AMPCLI_LIBS = ampcli/libampcli.a $(AMP_LIBS) $(JSONC_LIBS) $(LIBEDIT_LIBS)

bin_PROGRAMS += ampcli/ampcli
ampcli_ampcli_SOURCES = ampcli/main.c
ampcli_ampcli_LDADD = $(AMPCLI_LIBS)

dist_man_MANS += docs/ampcli.1

# Under the name that bash looks for: ampcli.
ampcompletiondir = $(datadir)/bash-completion/completions
EXTRA_DIST += ampcli/ampcli.bash-completion
install-data-local:
	$(MKDIR_P) '$(DESTDIR)$(ampcompletiondir)'
	$(INSTALL_DATA) $(srcdir)/ampcli/ampcli.bash-completion '$(DESTDIR)$(ampcompletiondir)/ampcli'
uninstall-local:
	rm -f '$(DESTDIR)$(ampcompletiondir)/ampcli'
