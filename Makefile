PYTHON ?= python3
ARGS ?=
# More than there are processors, because most tests wait for something; each has servers of its own.
WORKERS ?= 4
PARALLEL := --numprocesses $(WORKERS) --dist worksteal
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NATIVE := $(wildcard native/*)
BENCH := bench/.venv

export PIP_DISABLE_PIP_VERSION_CHECK := 1
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:
STANDALONE := standalone/.venv
.PHONY: help venv demo test-unit test test-slow test-servers check format docs bench dist standalone clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) \
	    | while IFS='|' read -r target text; do printf '%-18s %s\n' "$$target" "$$text"; done
	@echo "PYTHON=python3.12 chooses the interpreter for the virtual environment," \
	    "ARGS='-k name' is handed to pytest, or to the benchmark."

venv: $(STAMP) ## install the program and what it is tested with into .venv
	@echo "$(VENV) is ready"

demo: $(STAMP) ## stream real data into a local S3 server and compare what was stored
	@bash demo/demo.sh $(BIN)

test-unit: $(STAMP) ## the units, without server and process, and the house rules
	@$(BIN)/python -m pytest $(PARALLEL) tests/unit tests/project $(ARGS)

test: $(STAMP) ## all tests but the slow ones
	@$(BIN)/python -m pytest $(PARALLEL) -m "not slow" $(ARGS)

test-slow: $(STAMP) ## the slow tests
	@$(BIN)/python -m pytest $(PARALLEL) -m slow $(ARGS)

# s3rver comes by npm, where that is; Ceph only with the system's packages (Debian: radosgw ceph-mon ceph-osd).
test-servers: $(STAMP) ## every promise against every S3 server that is here, and README's table of them
	@if command -v npm >/dev/null && [ ! -e .servers/node_modules/.bin/s3rver ]; then \
	    echo "installing s3rver into .servers ..."; \
	    npm install --silent --no-audit --no-fund --prefix .servers s3rver@3.7.1; fi
	@MATRIX_RESULT=tests/servers/matrix.json timeout 1200 \
	    $(BIN)/python -m pytest -m slow tests/servers/test_matrix.py $(ARGS)
	@$(BIN)/python -m tests.project.servers_table

check: $(STAMP) ## ruff and mypy --strict
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(STAMP) ## let ruff format the code and sort the imports
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

docs: $(STAMP) ## write docs/commands.org and the manual pages anew from the --help of all commands
	@$(BIN)/python -m tests.project.commands_page
	@$(BIN)/python -m tests.project.manual_pages

bench: $(BENCH)/.installed ## streamtos3 beside its peers; ARGS='--quick', see ARGS=--help
	@$(BENCH)/bin/python -m pip install --quiet --no-deps --force-reinstall .
	@$(if $(findstring --plot,$(ARGS)),$(BENCH)/bin/python -m pip install --quiet -r bench/requirements-plot.txt)
	@$(BENCH)/bin/python -m bench $(ARGS)

$(BENCH)/.installed: bench/requirements.txt
	@echo "installing the peers into $(BENCH) ..."
	@"$(PYTHON)" -m venv $(BENCH)
	@$(BENCH)/bin/python -m pip install --quiet -r bench/requirements.txt
	@touch $@

dist: $(STAMP) ## build the source archive and the wheel into dist/
	@$(BIN)/python -m build --outdir dist .

standalone: $(STANDALONE)/.installed ## build a folder into dist/ that runs without Python
	@$(STANDALONE)/bin/python -m pip install --quiet --no-deps --force-reinstall .
	@$(STANDALONE)/bin/python standalone/build.py

$(STANDALONE)/.installed: standalone/requirements.txt requirements.txt setup.cfg
	@echo "installing PyInstaller into $(STANDALONE) ..."
	@"$(PYTHON)" -m venv $(STANDALONE)
	@$(STANDALONE)/bin/python -m pip install --quiet -r standalone/requirements.txt
	@$(STANDALONE)/bin/python -m pip install --quiet -c requirements.txt ".[crt,report,sink,zstd]"
	@touch $@

clean: ## remove all that make and the tests have made
	@rm -rf $(VENV) $(BENCH) $(STANDALONE) .servers build dist *.egg-info streamtos3/*.so .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): requirements.txt setup.cfg setup.py pyproject.toml $(NATIVE)
	@command -v "$(PYTHON)" >/dev/null \
	    || { echo "make: there is no $(PYTHON); install Python 3.10 or newer, or name it: make PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	    || { echo "make: $(PYTHON) is $$("$(PYTHON)" -V 2>&1), but 3.10 or newer is needed; name one: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null \
	    || { echo "make: $(PYTHON) cannot make virtual environments; install its venv package (Debian: python3-venv)" >&2; exit 1; }
	@echo "installing into $(VENV) ..."
	@"$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet -r requirements.txt
	@$(BIN)/python -m pip install --quiet --no-deps -e .
	@touch $@
