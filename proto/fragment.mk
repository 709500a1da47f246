# The messages: .proto files and what protoc-c makes of them.
PROTO_FILES = proto/common.proto proto/control.proto proto/read.proto \
	proto/event.proto proto/cli.proto proto/quarantine.proto proto/vault.proto \
	proto/engine.proto proto/keep.proto proto/demand.proto
PROTO_C = $(PROTO_FILES:.proto=.pb-c.c)
PROTO_H = $(PROTO_FILES:.proto=.pb-c.h)

noinst_LIBRARIES += proto/libproto.a
proto_libproto_a_SOURCES = proto/types.h
nodist_proto_libproto_a_SOURCES = $(PROTO_C) $(PROTO_H)
# Generated code is not ours to mend.
proto_libproto_a_CFLAGS = $(AMP_HARD_CFLAGS) $(AMP_SAN_FLAGS) -w

BUILT_SOURCES += $(PROTO_H)
CLEANFILES += $(PROTO_C) $(PROTO_H)
EXTRA_DIST += $(PROTO_FILES)

SUFFIXES = .proto .pb-c.c .pb-c.h
.proto.pb-c.c:
	$(AM_V_GEN)$(MKDIR_P) proto && $(PROTOC_C) -I $(top_srcdir) -I $(top_srcdir)/proto --c_out=. $(top_srcdir)/proto/$(*F).proto
proto/%.pb-c.h: proto/%.pb-c.c
	@:
