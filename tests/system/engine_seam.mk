# Workers that go wrong over contents that say how (engine_seam.c takes the place of seam.c).
noinst_PROGRAMS += tests/system/ampengine-seam
tests_system_ampengine_seam_SOURCES = tests/system/engine_seam.c ampscand/engine/main.c
tests_system_ampengine_seam_LDADD = $(AMP_ENGINE_LIBS)
