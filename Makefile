# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test slow lint bench clean

demo: $(INSTALLED)
	$(BIN)/efface demo --out runs/demo

# the whole suite: fast, offline, on two processes of one thread each
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -q

# what takes minutes
slow: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -m slow

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# the figures that README and docs quote; about 20 minutes on two cores
bench: $(INSTALLED)
	$(BIN)/python benchmarks/unlearning_step.py --mask-ratio 0.75 --batch 8
	$(BIN)/python benchmarks/unlearning_step.py --mask-ratio 0.25 --batch 8
	$(BIN)/python benchmarks/caching.py

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(INSTALLED)

clean:
	rm -rf $(VENV) runs dist .pytest_cache .mypy_cache .ruff_cache
