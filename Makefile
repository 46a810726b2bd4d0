# `make demo` and `make test` do everything on a fresh machine; both call `make setup`.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do $$p -c '' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
export MATTERLOOP_DATA ?= $(wildcard $(abspath ../shared/data))
SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)

.PHONY: setup demo test test-full test-slurm clean postgres

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt setup.py $(wildcard matterloop/potential/kernels/*.[ch])
	@$(PYTHON) -c 'import sys; sys.exit("matterloop needs Python 3.11 or newer, found " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(SUDO) apt-get install -y python3-venv
	@command -v cc >/dev/null || $(SUDO) apt-get install -y gcc libc6-dev || echo 'no C compiler: CHGNet will be evaluated by torch, several times slower'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip "setuptools>=77,<82" wheel
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	@touch $@

demo: setup
	$(BIN)/matterloop discover "new ternary lithium oxides with fewer than 16 atoms within 50 meV of the hull" --count 300 --seed 0 --out runs/demo --overwrite
	@echo "open runs/demo/report.html"

test: setup postgres
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 2 -m "not slow"

test-full: setup postgres
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 2
	PYTHON=$(abspath $(BIN)/python) bash recipes/check_wheel.sh

# the fan-out on a real Slurm of one node, this machine, installed from Debian's packages where it is not there
test-slurm: setup
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE sh .ci/slurm.sh $(BIN)/python -m pytest -m slurm tests/campaign/test_executors.py

postgres:
	@bash .ci/postgres.sh

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache
