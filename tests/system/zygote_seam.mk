# Zygotes that go wrong as a file says (zygote_seam.c).
noinst_PROGRAMS += tests/system/ampengine-zygotes
tests_system_ampengine_zygotes_SOURCES = tests/system/zygote_seam.c ampscand/engine/main.c
tests_system_ampengine_zygotes_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=fork -Wl,--wrap=amp_seccomp_seal
tests_system_ampengine_zygotes_LDADD = $(AMP_ENGINE_LIBS)
