# Two commands do everything on a machine with Python 3.11 or newer (venv) and make: `make run`, `make test`.
PYTHON ?= python3
BIN := .venv/bin
PREFIX ?= /opt/streamd
LINK ?= /usr/local/bin/streamd
# Packages that your own steps need in the service: one a line, as pip reads them.
PACKAGES ?= /etc/streamd/requirements.txt

.PHONY: run test lint types floors check bench bench-peers fuzz mutate lock clean install uninstall

run: .venv/run.stamp
	bin/streamd run --config config/streamd.toml

test: .venv/dev.stamp
	$(BIN)/python -m pytest

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev.stamp
	$(BIN)/mypy

floors: .venv/dev.stamp
	$(BIN)/lint-imports --no-cache

check: lint types floors test

fuzz: .venv/dev.stamp
	$(BIN)/python tests/fuzz/fuzz.py --seconds 30

# Each of the mistakes in tests/mutation/*.toml, one at a time, in a copy of the tree: which do the tests notice?
# MUTATE="--only worker --jobs 4 --resume" for some of them; see tests/mutation/mutate.py.
mutate: .venv/dev.stamp
	$(BIN)/python tests/mutation/mutate.py $(MUTATE)

bench: .venv/dev.stamp
	$(BIN)/streamd bench

# streamd and other systems in turn on this machine; fetches them into .peers first (Debian's packages, wheels).
bench-peers: .venv/dev.stamp
	$(BIN)/python -m tests.bench.peers.run

# As root: streamd in a virtual environment of its own, what systemd needs, and a link for everybody's PATH. PYTHON=/usr/bin/python3 where
# python3 is one in somebody's home: the service sees no home.
install:
	umask 022 && $(PYTHON) -m venv $(PREFIX)
	umask 022 && $(PREFIX)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	umask 022 && $(PREFIX)/bin/pip install --quiet --disable-pip-version-check --no-deps --force-reinstall .
	grep -v '^[ #]' requirements.lock | sed 's/ *\\$$//' > $(PREFIX)/constraints.txt
	test ! -f $(PACKAGES) || (umask 022 && $(PREFIX)/bin/pip install --quiet --disable-pip-version-check \
		--constraint $(PREFIX)/constraints.txt --requirement $(PACKAGES))
	$(PREFIX)/bin/streamd install-service
	test -e $(LINK) -a ! -L $(LINK) || ln -sfn $(PREFIX)/bin/streamd $(LINK)

uninstall:
	$(PREFIX)/bin/streamd uninstall-service
	test "$$(readlink $(LINK))" != $(PREFIX)/bin/streamd || rm $(LINK)
	test -f $(PREFIX)/pyvenv.cfg && rm -rf $(PREFIX)

.venv/run.stamp: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

.venv/dev.stamp: .venv/run.stamp requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	touch $@

lock:
	uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url --extra frames --group dev pyproject.toml -o requirements-dev.lock

clean:
	rm -rf .venv build *.egg-info
