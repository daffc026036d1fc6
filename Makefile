# On a machine with only Python >= 3.11 and make, every target sets up what it needs by itself.
# PYTHON=/path/to/python chooses the interpreter; PYTEST_ARGS, BENCH_ARGS go to those programs.

PYTHON ?= python3
BIN := .venv/bin
MIN_BIN := .venv-min/bin

# The oldest releases that are supported; the worker's seams break there first.
OLDEST := 'flask==3.0.*' 'werkzeug==3.0.*' 'gunicorn==25.3.0' 'gevent==24.10.1' 'waitress==3.0.1'

# Of these, what comes next is tried too, once it is on PyPI.
PRE_RELEASES := flask werkzeug gunicorn gevent waitress

.PHONY: demo test quick lint types arch package cov test-min test-others bench bench-instructions \
	bench-peers bench-slow bench-take-over bench-stops bench-bad bench-nginx matrix docs clean
.DELETE_ON_ERROR:

# Where it listens: DEMO_BIND, DEMO_TLS_BIND and DEMO_SOCKET; under which names, if that is not only
# on this machine: DEMO_HOSTS. DEMO_LOG=- prints the requests.
demo: .venv/.demo
	@$(BIN)/python -m example_app

# One after the other: each keeps the machine busy by itself.
test: lint types arch package
	$(MAKE) cov
	$(MAKE) test-min
	$(MAKE) test-others

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tests/house.py

types: .venv/.dev
	$(BIN)/mypy --platform linux
	$(BIN)/mypy --platform darwin
	$(BIN)/mypy --platform win32

arch: .venv/.dev
	$(BIN)/lint-imports

# The wheel and the sdist, as they would be uploaded; what builds them is in the environment.
package: .venv/.dev
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist . >/dev/null
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

# A test that failed while four of them shared the machine is run once more, by itself: what fails then
# is broken, what passes is a race to be found (its first failure stays in the output).
AGAIN = --last-failed --last-failed-no-failures=none -rA

# Tests wait for processes and clocks more than they compute, so there are more of them at once than
# there are processors.  Those of one file share servers.
XDIST ?= -n 4 --dist loadfile --no-loadscope-reorder

# Where nothing is measured there is room for more; in the quick part one file is half of it.
XDIST_MIN ?= -n 6 --dist loadfile --no-loadscope-reorder
XDIST_QUICK ?= -n 4 --dist worksteal

quick: .venv/.dev
	$(BIN)/python -m pytest -m 'not slow' $(XDIST_QUICK) $(PYTEST_ARGS)

# The gunicorn and Werkzeug processes that the tests start are measured too (pyproject.toml).
cov: .venv/.dev
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(XDIST) $(PYTEST_ARGS) || $(BIN)/coverage run -m pytest $(AGAIN)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# What stands on Flask, Werkzeug and gunicorn; the storms are about nothing that differs there.
MIN_TESTS = -k 'not storm' tests/workers tests/serving tests/testing tests/test_sequences.py tests/test_hijack.py \
	tests/test_foreign.py tests/test_extension.py tests/test_exports.py \
	tests/test_close_reasons.py tests/test_http2.py tests/test_http2_ends.py

test-min: .venv-min/.test
	$(MIN_BIN)/python -m pytest $(MIN_TESTS) $(XDIST_MIN) $(PYTEST_ARGS) || \
		$(MIN_BIN)/python -m pytest $(MIN_TESTS) $(AGAIN)

# The quick part on newer Pythons, where they are: on PATH, or installed by pyenv.
OTHERS ?= 3.12 3.13

test-others: $(addprefix test-,$(OTHERS))

test-3.%: .venv-3.%/.test
	@if [ -e $< ]; then \
		$(<D)/bin/python -m pytest -m 'not slow' $(XDIST_QUICK) $(PYTEST_ARGS) || \
			$(<D)/bin/python -m pytest -m 'not slow' $(AGAIN); \
	else \
		echo 'There is no Python 3.$* here: nothing is tested on it.'; \
	fi

bench: .venv/.bench
	$(BIN)/python benchmarks/run.py $(BENCH_ARGS)
	$(BIN)/python benchmarks/tcp_info.py
	$(BIN)/python benchmarks/websocket_crowd.py
	$(BIN)/python benchmarks/streams.py

# Counts, which do not depend on how busy the machine is: apt install valgrind strace.
bench-instructions: .venv/.bench
	$(BIN)/python benchmarks/instructions.py $(BENCH_ARGS)

bench-peers: .venv/.bench
	$(BIN)/python benchmarks/peers.py $(BENCH_ARGS)

bench-slow: .venv/.bench
	$(BIN)/python benchmarks/slow_peers.py $(BENCH_ARGS)

# 10,000 connections on the event loop, three times: two minutes.
bench-take-over: .venv/.dev
	$(BIN)/python benchmarks/take_over.py $(BENCH_ARGS)

# What is lost when a server stops under load: 1,200 stops, about 40 minutes (--stops 10: four).
bench-stops: .venv/.dev
	$(BIN)/python benchmarks/stops.py $(BENCH_ARGS)

# POSTs behind nginx while connections end: two minutes; apt install nginx.
bench-nginx: .venv/.dev
	$(BIN)/python benchmarks/nginx_burst.py $(BENCH_ARGS)

# What is left of 60,000 bad connections: about five minutes.
bench-bad: .venv/.dev
	$(BIN)/python benchmarks/bad_connections.py $(BENCH_ARGS)

# What each server can do, by trying, on each Python, with the oldest releases, and with pre-releases:
# a quarter of an hour.
matrix: .venv/.dev .venv-min/.test $(OTHERS:%=.venv-%/.test) .venv-pre/.test
	$(BIN)/python $(PIP_INSTALL) --upgrade $(PRE_RELEASES)
	.venv-pre/bin/python $(PIP_INSTALL) --upgrade --pre $(PRE_RELEASES)
	$(BIN)/python tests/matrix.py --write
	for each in .venv-min $(OTHERS:%=.venv-%) .venv-pre; do \
		[ ! -e $$each/.test ] || $$each/bin/python tests/matrix.py --also || exit; \
	done

# Anew each time: what Sphinx keeps has the navigation of the time when a page was made.
docs: .venv/.dev
	rm -rf docs/_build
	$(BIN)/python -m sphinx -W --keep-going -n -b html docs docs/_build/html

# Leaves the virtual environments; `rm -r .venv .venv-*` removes those.
clean:
	rm -rf build dist docs/_build htmlcov .coverage .coverage.*
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +

# Set-up

# What users may install, and is tested; what developers need is in groups, for which pip is to be
# newer than the one that Python 3.11 and 3.12 bring along.
EXTRAS := gunicorn,gevent,waitress,http2,cli,prometheus,otel,websocket
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
PIP_WITH_GROUPS := 'pip>=25.1'

.venv/bin/python .venv-min/bin/python .venv-pre/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'Flask-RawSocket needs Python 3.11 or newer: make PYTHON=/path/to/python3.11' >&2; \
		exit 1; }
	@$(PYTHON) -m venv $(firstword $(subst /, ,$@)) || { \
		rm -rf $(firstword $(subst /, ,$@)); \
		echo '$(PYTHON) cannot make a virtual environment (on Debian: apt install python3-venv)' >&2; \
		exit 1; }

.venv/.demo: pyproject.toml | .venv/bin/python
	$(BIN)/python $(PIP_INSTALL) -e '.[demo]'
	@touch $@

.venv/.dev: pyproject.toml Makefile | .venv/bin/python
	$(BIN)/python $(PIP_INSTALL) $(PIP_WITH_GROUPS)
	$(BIN)/python $(PIP_INSTALL) -e '.[$(EXTRAS)]' --group dev
	@touch .venv/.demo $@

.venv/.bench: .venv/.dev
	$(BIN)/python $(PIP_INSTALL) -e '.[demo]' --group bench
	@touch $@

.venv-min/.test: pyproject.toml Makefile | .venv-min/bin/python
	$(MIN_BIN)/python $(PIP_INSTALL) $(PIP_WITH_GROUPS)
	$(MIN_BIN)/python $(PIP_INSTALL) -e '.[$(EXTRAS)]' --group test $(OLDEST)
	@touch $@

.venv-pre/.test: pyproject.toml Makefile | .venv-pre/bin/python
	.venv-pre/bin/python $(PIP_INSTALL) $(PIP_WITH_GROUPS)
	.venv-pre/bin/python $(PIP_INSTALL) -e '.[$(EXTRAS)]' --group test
	@touch $@

# Leaves nothing behind where there is no such Python.
.PRECIOUS: .venv-3.%/.test
.venv-3.%/.test: pyproject.toml Makefile
	@for python in python3.$* $${PYENV_ROOT:-$$HOME/.pyenv}/versions/3.$*.*/bin/python3; do \
		if "$$python" -c '' 2>/dev/null; then \
			"$$python" -m venv $(@D) && \
			$(@D)/bin/python $(PIP_INSTALL) $(PIP_WITH_GROUPS) && \
			$(@D)/bin/python $(PIP_INSTALL) -e '.[$(EXTRAS)]' --group test && \
			touch $@; \
			exit; \
		fi; \
	done
