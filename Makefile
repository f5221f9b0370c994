# `make run` and `make test` need only Python 3.11 or newer (with venv) and make.
PYTHON ?= python3
BIN := .venv/bin
PREFIX ?= /opt/streamd
LINK ?= /usr/local/bin/streamd
# The file of packages that your own steps need in the service, in pip's format.
PACKAGES ?= /etc/streamd/requirements.txt

.PHONY: run test lint types floors check bench bench-peers bench-windows evaluate evaluate-queues evaluate-scale fuzz mutate lock clean install uninstall

run: .venv/run.stamp
	bin/streamd run --config config/streamd.toml

# All tests, in parts at the same time; `.venv/bin/python -m pytest PATH` for some of them.
test: .venv/dev.stamp
	$(BIN)/python tests/run.py

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

# Makes each mistake of tests/mutation/*.toml in a copy of the tree, and reports the mistakes that no test notices.
# MUTATE="--only worker --jobs 4 --resume" selects some of them; see tests/mutation/mutate.py.
mutate: .venv/dev.stamp
	$(BIN)/python tests/mutation/mutate.py $(MUTATE)

bench: .venv/dev.stamp
	$(BIN)/streamd bench

# Measures streamd and other systems in turn on this machine. Downloads them into .peers first (Debian packages, wheels).
bench-peers: .venv/dev.stamp
	$(BIN)/python -m tests.bench.peers.run

# Measures the step window, a loop written by hand, Bytewax and Pathway in turn. Installs their wheels into .peers first.
bench-windows: .venv/dev.stamp
	$(BIN)/python -m tests.bench.peers.windows

# Measures the steps anomaly and drift on labelled series, and writes the tables and pictures of its page in docs.
# Downloads the wheel of aeon, which has two of the series, into .peers first. EVALUATE="--only plant" selects.
evaluate: .venv/dev.stamp
	$(BIN)/python -m tests.evaluation.run --write $(EVALUATE)

# Compares the queue model with real daemons on 127.0.0.1, and writes the tables and pictures of its page in docs. Takes
# about 25 minutes, or 5 with QUEUES="--jobs 6"; QUEUES="--only step" drives some again, QUEUES=--none none, and
# QUEUES=--simulated computes the bursts without daemons and writes nothing.
evaluate-queues: .venv/dev.stamp
	$(BIN)/python -m tests.evaluation.queues.run --write $(QUEUES)

# Kills edges, servers and workers that process a million readings, and compares the results with those of one
# machine. Needs PostgreSQL. SCALE="--records 20000 --takeover 2 --hang 6" is a short one; --write is in the page's table.
evaluate-scale: .venv/dev.stamp
	$(BIN)/python -m tests.evaluation.scale.run $(SCALE)

# As root: installs streamd in its own virtual environment, the systemd units, and a link in every user's PATH.
# Set PYTHON=/usr/bin/python3 if python3 is in a home folder, because the service cannot see home folders.
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
	uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url --extra frames --extra analytics --extra onnx --extra nats --extra parquet --extra postgresql --extra zstd --group dev pyproject.toml -o requirements-dev.lock

clean:
	rm -rf .venv build *.egg-info
