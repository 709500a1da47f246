# Guests with Debian's kernels: scripts alone (contrib/check runs selftest and suite.py).
EXTRA_DIST += tests/vm/README.md tests/vm/run tests/vm/selftest tests/vm/bare.sh tests/vm/init tests/vm/start \
	tests/vm/amp-vm.service tests/vm/amp-vm.target $(wildcard $(srcdir)/tests/vm/*.py)
