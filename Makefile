# Every target sets up what it needs; a second run finds it done.
PYTHON ?= python3
VENV := .venv
EXTRAS ?= all,dev
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo learn docs test wheel release zoo bench mutants lint clean

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$(EXTRAS)]"
	touch $@

demo: $(STAMP)
	$(BIN)/stridewise demo

learn: $(STAMP)
	$(BIN)/stridewise learn

docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "site/index.html"

# WITH: in which clean environments the built wheel is tried.
WITH ?= core torch
wheel: $(STAMP)
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	$(BIN)/python tests/wheel.py dist/*.whl $(WITH)

# CONTRIBUTING.md has the steps; VERSION is that of src/stridewise/__init__.py.
release: test docs wheel
	$(BIN)/towncrier build --yes --version "$$($(BIN)/python -c 'import stridewise; print(stridewise.__version__)')"

test: $(STAMP) lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy

zoo: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[reach]"
	$(BIN)/python -m pytest -n 2 --dist worksteal -m zoo tests

bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[bench]"
	$(BIN)/python benchmarks/analysis.py

mutants: $(STAMP)
	$(BIN)/python benchmarks/mutants.py --count 300 --seed 0

clean:
	rm -rf dist $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis site
