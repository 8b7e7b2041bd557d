# The two commands: `make run` and `make test`. Both make the environment first if there is none.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Processes that keep no bytecode would each compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup run test explore test-slow lint types bench config format clean

help:
	@echo "make run     compose signals and serve them on http://127.0.0.1:8300"
	@echo "make test    ruff, mypy --strict and the test suite"
	@echo "make test-slow, make explore   longer proofs; examples nobody has seen yet"
	@echo "make setup   make the environment in $(VENV) alone"
	@echo "make bench   measure against peers, side by side"
	@echo "make config  update the comments in config.yaml from the descriptions in code"
	@echo "make format  format and fix what can be fixed"

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m weft_app.compiling
	touch $(STAMP)

# ARGS reaches weft: make run ARGS="--set providers.files.path=/data/candles --port 8301"
run: setup
	$(BIN)/weft --sandbox serve $(ARGS)

test: setup lint types
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

# Other examples on every run, of all tests that are given examples.
explore: setup
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m hypothesis --hypothesis-profile explore $(ARGS)

test-slow: setup
	$(BIN)/python -m pytest -m slow $(ARGS)

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

types: setup
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m benchmarks $(ARGS)

# The packaged config file takes the comments of options from code; config.yaml is its copy.
config: setup
	$(BIN)/python -m weft_app.default_config .

format: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
