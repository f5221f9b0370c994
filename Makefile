# Two commands do everything on a machine with Python 3.11 or newer (venv) and make: `make run`, `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test lint types floors check bench fuzz lock clean

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

bench: .venv/dev.stamp
	$(BIN)/streamd bench

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
