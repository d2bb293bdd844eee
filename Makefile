# make demo   classify real recordings and print a held-out score
# make test   linter, formatter, types, doctests, and the tests that guard most; WORKERS=2 of them at once
# make test-all   the same with all tests, slow ones too; what continuous integration runs
# make release-check   build the last commit, install it where there is nothing but what it asks
#             for, run README's first snippet; FULL=1 also installs what it asks for anew: minutes
# make docs   the documentation, into docs/_build/html; SPHINXOPTS="-D plot_gallery=1" also runs the
#             examples, for their pictures
#
# All make what they need first: a virtual environment in .venv with the pinned packages, and the
# pretrained weights in the cache (SKSPEECH_CACHE). Real recordings are looked for in SKSPEECH_DATA.

VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/installed
PYTEST_ARGS ?=
WORKERS ?= 2
BENCH ?= $(sort $(wildcard benchmarks/bench_*.py))

# The first Python that the pinned packages are known to install on.
CANDIDATES := python3.11 python3.12 python3.13 python3 python3.10
RECENT := import sys; sys.exit(sys.version_info < (3, 10))
PYTHON ?= $(shell for p in $(CANDIDATES); do \
	if $$p -c '$(RECENT)' 2>/dev/null; then echo $$p; break; fi; done)

.PHONY: bench clean demo docs format install lint release-check test test-all weights
.DELETE_ON_ERROR:

demo: weights
	$(PY) examples/quick_start.py

# Files of tests share out the cores, one thread each: more would wait for one another, busily. What
# watches the clock, processes or threads comes afterwards, alone.
define run_tests
	OMP_NUM_THREADS=1 $(PY) -m pytest -n $(WORKERS) --dist loadfile -m "not alone$(1)" $(PYTEST_ARGS)
	$(PY) -m pytest -m "alone$(1)" $(PYTEST_ARGS)
endef

test: lint weights
	$(call run_tests, and not slow)

test-all: lint weights
	$(call run_tests)

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: install
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: weights
	@missed=0; for script in $(BENCH); do \
		echo "== $$script"; $(PY) "$$script" || missed=1; done; exit $$missed

release-check: weights
	FULL="$(FULL)" bash .ci/release-check

docs: install
	$(PY) -m sphinx -W --keep-going -q -b html $(SPHINXOPTS) docs docs/_build/html
	@echo "docs/_build/html/index.html"

weights: install
	$(PY) -m skspeech.weights fetch

install: $(INSTALLED)

# The pinned set needs Python 3.11; on 3.10 the open ranges of setup.cfg decide.
$(INSTALLED): setup.cfg pyproject.toml constraints.txt | $(PY)
	@if $(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
		set -x; $(PY) -m pip install -q -c constraints.txt -e '.[test]'; \
	else \
		set -x; $(PY) -m pip install -q -e '.[test]'; \
	fi
	@touch $@

$(PY):
	@if [ -z "$(PYTHON)" ]; then \
		echo "No Python 3.10 or later found. Name one: make PYTHON=/path/to/python3.11" >&2; \
		exit 1; \
	fi
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf docs/_build docs/api docs/auto_examples docs/notebooks docs/thumbnails
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
