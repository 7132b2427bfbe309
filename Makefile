# Two commands do everything on a fresh Debian or Ubuntu with Python 3.11 to 3.13, make and git:
#   make run     sets up, then runs the node on the shipped samples
#   make test    sets up, then runs all tests

BIN := .venv/bin
READY := .venv/ready
RUFF_PATHS := node training tests
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: help
help: ## say what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

.PHONY: run
run: setup ## run the node on the shipped samples; it listens until Ctrl-C (without a terminal: ends when all are answered)
	@if [ -t 0 ] && [ "$$CI" != true ]; then \
		exec $(BIN)/cxr-node demo --out out; \
	else \
		exec $(BIN)/cxr-node demo --out out --once; \
	fi

.PHONY: pacs
pacs: setup peers ## run a PACS, the node and a viewer (Orthanc, OHIF) as the containers have them, with sample studies, until Ctrl-C
	@exec $(BIN)/python -m tests.tools.pacs

# So many processes run the tests, each a file at a time; journeys mostly wait.
WORKERS ?= 2
.PHONY: test
test: setup peers ## run all tests, against real peers (Orthanc, DCMTK, PixelMed) where they can be installed
	@$(BIN)/pytest -rs -n $(WORKERS) --dist loadfile

.PHONY: test-fast
test-fast: setup ## run the quick tests, which need no other program (three minutes)
	@$(BIN)/pytest -rs -n 3 --dist loadfile -m "not slow and not peers and not viewer and not training"

# Hours on end: STUDIES, ASSOCIATIONS, KILLS and ACKNOWLEDGMENTS say how much; results in out/soak.
STUDIES ?= 5000
ASSOCIATIONS ?= 20000
KILLS ?= 200
ACKNOWLEDGMENTS ?= 5000
.PHONY: soak
soak: setup peers ## kill the node 200 times and send it 5,000 studies; see what is lost, and what grows (about an hour)
	@$(BIN)/python -m tests.soak.power_cuts --kills $(KILLS) --acknowledgments $(ACKNOWLEDGMENTS)
	@$(BIN)/python -m tests.soak.backlog
	@$(BIN)/python -m tests.soak.soak --studies $(STUDIES) --associations $(ASSOCIATIONS)

# QUICK=1 takes few repetitions, and leaves the documents alone.
.PHONY: bench
bench: setup peers ## measure the node beside its alternatives: 20 minutes, into docs/performance.*; QUICK=1: fewer repetitions, into out/bench
	@$(BIN)/python -m tests.bench $(if $(QUICK),--quick,--out docs)

# B104, a string that reads 0.0.0.0, and B704, markup that is not escaped, are ruff's S104 and S704: each place has its reason
# beside it.
ANSWERED_FOR := B104,B704

.PHONY: check
check: setup ## lint, format, types, import contracts, known vulnerabilities, and the documentation against the code
	@$(BIN)/ruff check $(RUFF_PATHS)
	@$(BIN)/ruff format --check $(RUFF_PATHS)
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/bandit --quiet --recursive --severity-level medium --skip $(ANSWERED_FOR) node training
	@$(BIN)/python tests/tools/vulnerabilities.py requirements.lock requirements-dev.lock
	@$(BIN)/pytest -q tests/test_docs.py tests/test_architecture.py

.PHONY: sbom
sbom: setup ## write out/sbom.json, the bill of materials: every locked package and the model (CycloneDX)
	@$(BIN)/python tests/tools/sbom.py requirements.lock models out/sbom.json

.PHONY: docs
docs: setup ## write docs/conformance.md anew from the code
	@$(BIN)/python -m tests.tools.make_conformance

.PHONY: format
format: setup ## format the code and sort its imports
	@$(BIN)/ruff check --fix $(RUFF_PATHS)
	@$(BIN)/ruff format $(RUFF_PATHS)

.PHONY: setup
setup: $(READY) ## make .venv as the lock file says; quick when nothing has changed

$(READY): requirements-dev.lock pyproject.toml tests/tools/make_venv.sh
	@PYTHON="$(PYTHON)" sh tests/tools/make_venv.sh
	@touch $@

.PHONY: peers
peers: ## install the programs that the tests talk to, by apt
	@sh tests/tools/install_peers.sh

# Training runs on any Keras backend. torch is named by version, so that a machine's own build for the CPU can be taken.
.PHONY: backends
backends: setup ## install the other Keras backends, torch and jax, that the training is tested on
	@$(BIN)/pip install --quiet torch==2.13.0 jax

# UPGRADE=--upgrade takes the newest versions that pyproject.toml allows; without it, pins stay where they can.
COMPILE = .venv/lock/bin/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate \
	--python-version 3.11 --custom-compile-command "make lock" $(UPGRADE) --extra train

.PHONY: lock
lock: setup ## write the lock files anew from pyproject.toml (UPGRADE=--upgrade for newer versions)
	@test -x .venv/lock/bin/uv || { $(BIN)/python -m venv .venv/lock && .venv/lock/bin/pip install --quiet uv; }
	@$(COMPILE) --extra dev pyproject.toml -o requirements-dev.lock
	@$(COMPILE) --constraint requirements-dev.lock pyproject.toml -o requirements.lock
	@$(COMPILE) --extra gpu --constraint requirements.lock pyproject.toml -o requirements-gpu.lock

.PHONY: clean
clean: ## remove caches and the demonstration's results; .venv, spool and training runs stay
	@rm -rf out build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find node training tests -name __pycache__ -type d -prune -exec rm -rf {} +
