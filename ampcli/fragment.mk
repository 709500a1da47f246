# ampcli: one-shot client of the services' sockets. Everything but main is in
# a library, so that tests link it.
noinst_LIBRARIES += ampcli/libampcli.a
ampcli_libampcli_a_SOURCES = \
	ampcli/cli.c ampcli/cli.h \
	ampcli/client.c ampcli/client.h \
	ampcli/cmd_history.c ampcli/cmd_policy.c ampcli/cmd_posture.c \
	ampcli/cmd_quarantine.c ampcli/cmd_status.c \
	ampcli/out.c ampcli/out.h \
	ampcli/vault_entry.c ampcli/vault_entry.h

bin_PROGRAMS += ampcli/ampcli
ampcli_ampcli_SOURCES = ampcli/main.c
ampcli_ampcli_LDADD = ampcli/libampcli.a $(AMP_LIBS) $(JSONC_LIBS)

dist_man_MANS += docs/ampcli.1
