# Front door of the project. Every target prepares .venv/ by itself; a fresh machine needs Python 3.11+, make and a C compiler.
SHELL := bash
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
PY := .venv/bin/python
# NB: three on two cores: many tests wait for processes.
PYTEST := $(PY) -m pytest -n 3 --dist worksteal
SOURCES := trainer operator bench tests
TESTS := tests/unit tests/checks tests/local tests/users

# NB: tests are compiled with their asserts rewritten, for 10 s in each process of pytest; the next ones find it.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help run test fast test-all test-python e2e cluster matrix crossings pictures docs release lint format generate cluster-api cluster-queues clean
help: ## say what the targets do
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.tools/bin/uv:
	python3 -m venv .tools && .tools/bin/pip install --quiet uv

# NB: bytecode of what most processes of a test import, once: each would compile torch's 1.5 s worth of Python anew where
# Python may not write it. The other packages are compiled when somebody imports them; all of them would take 40 s.
IMPORTED := torch numpy scipy sklearn matplotlib kubernetes aiohttp msgspec yaml zmq pytest _pytest hypothesis

.venv/.ready: pyproject.toml bench/pyproject.toml uv.lock $(wildcard trainer/asgd/kernel/*.[ch]) | $(filter .tools/bin/uv,$(UV))
	$(UV) sync --quiet --all-extras
	@site=$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	$(PY) -m compileall -q -j 0 -x py312 trainer operator bench $(IMPORTED:%=$$site/%)
	@touch $@

# What only the docs need, beside the project's own environment.
.venv-docs/.ready: uv.lock | $(filter .tools/bin/uv,$(UV))
	UV_PROJECT_ENVIRONMENT=.venv-docs $(UV) sync --quiet --frozen --only-group docs
	@touch $@

run: .venv/.ready ## train the digits example: 2 parameter servers, 4 workers
	.venv/bin/asgd run examples/digits.yaml

test: .venv/.ready ## lint, types, units, checks and the promises of the README by real processes; no Go, no root, no cluster
	@$(MAKE) --no-print-directory -j2 lint fast

fast: .venv/.ready
	$(PYTEST) -m "not slow" --durations=10 --durations-min=5 $(TESTS)

test-all: test test-python cluster-api .venv-docs/.ready ## what `make test` leaves out, too: slow cases, more examples, a real API server, charts; needs Go
	HYPOTHESIS_PROFILE=thorough $(PYTEST) -m "slow or hypothesis" $(TESTS)
	$(PY) -m pytest -n 2 --dist loadfile -m "not slow" tests/api tests/chart tests/cluster tests/gpu --ignore=tests/cluster/test_node_tier.py

test-python: $(filter .tools/bin/uv,$(UV)) ## the operator's unit tests on Python 3.13 as well, where there is one
	UV=$(UV) tools/test_python.sh 3.13

e2e: .venv/.ready cluster ## a real two-node Kubernetes with both images, the chart and real jobs; needs root on Debian and Go, installs the rest
	trap 'python3 -m tests.cluster down' EXIT; python3 -m tests.cluster up >/dev/null && CI=true $(PY) -m pytest tests/e2e

matrix: .venv/.ready ## every strategy over real processes: killed, resumed, replayed; writes docs/reference/matrix.md
	$(PY) tools/matrix.py

crossings: .venv/.ready ## every option x every strategy in virtual time; writes docs/reference/crossings.md
	$(PY) tools/crossings.py

pictures: .venv/.ready ## the pictures of docs/strategies.md, from simulations of the examples
	$(PY) tools/strategy_pictures.py

docs: .venv-docs/.ready ## the docs as a site, into site/: readable and searchable without a network; a link to nothing fails
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

release: .venv/.ready ## the newest commit as wheel, sdist, chart, install.yaml, SBOM, images and checksums, into dist/; needs helm
	UV=$(UV) $(PY) tools/release.py dist $(if $(REGISTRY),--registry $(REGISTRY))

cluster: ## build what the two-node cluster needs: its Go programs, once, into a cache, and both images
	python3 -m tests.cluster build
	tools/build_images.sh slim trainer

cluster-queues: ## build Kueue and the coscheduling scheduler, for the tests of queues and gangs, once, into a cache
	python3 -m tests.cluster build-queues

cluster-api: ## build the API server's programs from their Go modules, once, into a cache
	python3 -m tests.cluster build --tier api

lint: .venv/.ready ## ruff, mypy --strict, import contracts, generated files up to date, sizes
	.venv/bin/ruff check $(SOURCES) tools
	.venv/bin/ruff format --check $(SOURCES) tools
	.venv/bin/lint-imports --no-cache
	$(PY) tools/generate.py --check
	$(PY) tools/budget.py
	.venv/bin/mypy

format: .venv/.ready ## rewrite the sources in the project's format
	.venv/bin/ruff check --fix $(SOURCES) tools
	.venv/bin/ruff format $(SOURCES) tools

generate: .venv/.ready ## refresh what is made from crds/
	$(PY) tools/generate.py

clean: ## remove everything that make made
	rm -rf .venv .venv-docs .tools build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache
