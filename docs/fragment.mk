# docs
dist_man_MANS += docs/ampmon.8 docs/ampmon.conf.5 docs/amp-policy.5
EXTRA_DIST += README.md docs/architecture.md docs/benchmarks.md docs/threat-model.md docs/protocol.md docs/configuration.md \
	docs/dependencies.md docs/kernels.md docs/systemd.md
