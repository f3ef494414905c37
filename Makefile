# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test slow planted campaigns lint hooks bench smoke clean

# GENERATOR=mage and GENERATOR=palette show the other families
GENERATOR ?= mae
demo: $(INSTALLED)
	$(BIN)/efface demo --generator $(GENERATOR) --out runs/demo$(if $(filter-out mae,$(GENERATOR)),-$(GENERATOR))

# the whole suite: fast, offline, on two processes of one thread each
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -q

# what takes minutes
slow: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -m slow

# planted failures over a hundred seeds (docs/planted.md); some twenty minutes on one core
planted: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -m slow tests/planted

# unlucky and hostile days by the thousand (docs/reliability.md): SHORT=1 takes some minutes, the long form hours
SEED ?= 0
campaigns: $(INSTALLED)
	OMP_NUM_THREADS=1 CAMPAIGN=$(if $(SHORT),short,long) CAMPAIGN_CASES=$(CASES) \
	    $(BIN)/pytest -q -m slow tests/campaigns --hypothesis-seed=$(SEED)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# from now on git runs the checks of `make lint` before every commit
hooks: $(INSTALLED)
	$(BIN)/pip install --quiet --constraint constraints.txt pre-commit
	$(BIN)/pre-commit install

# the figures that README and docs quote; about an hour on two cores
bench: $(INSTALLED)
	$(BIN)/python benchmarks/unlearning_step.py --mask-ratio 0.75 --batch 8
	$(BIN)/python benchmarks/unlearning_step.py --mask-ratio 0.25 --batch 8
	$(BIN)/python benchmarks/caching.py
	$(BIN)/python benchmarks/forgetting_score.py
	$(BIN)/python benchmarks/oracle_pool.py --pairs 1
	$(BIN)/python benchmarks/mage_step.py --pairs 2 --batch 16
	$(BIN)/python benchmarks/palette_step.py --size base --pixels 64
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/probe_calibration.py
	$(BIN)/python benchmarks/palette_restoring.py --model runs/palette-restoring --train-steps 1500

# every script of benchmarks/ and docs/ in its smallest form, and docs as their scripts write them; DEMO=runs/demo spares one
smoke: $(INSTALLED)
	$(BIN)/python benchmarks/smoke.py $(if $(DEMO),--demo $(DEMO))

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(INSTALLED)

clean:
	rm -rf $(VENV) runs dist .pytest_cache .mypy_cache .ruff_cache
