# Set-up, demo and tests. Every target does its own set-up; nothing is installed twice.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help demo test test-fast test-faults check setup docs gallery clean bench
.DEFAULT_GOAL := check

help:  ## this list
	@awk -F ':.*  ## ' '/^[a-z-]+:.*  ## / {printf "%-12s %s\n", $$1, $$2}' Makefile

demo: setup  ## train studies/quickstart.yaml and answer its question (about 2 minutes on 2 cores)
	@echo "Trains two small transformers, which takes about 2 minutes on 2 free cores, and answers from their curves."
	@echo "Results go to results/; Ctrl-C loses nothing, and make demo goes on from there."
	$(BIN)/grokstudy run studies/quickstart.yaml

setup: $(STAMP)  ## the environment alone: .venv/bin/grokstudy

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "grokstudy needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

test: setup check  ## format, lint, types, imports, all tests
	./scripts/system-packages.sh
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-fast: setup  ## tests that take no Ray, no server, no long training
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

test-faults: setup  ## kill, stop, starve and tear real processes and files; ends with the table of docs/reliability.md
	mkdir -p test-output && rm -f test-output/faults.jsonl
	GROKSTUDY_FAULTS=1 GROKSTUDY_SEEDS=$(or $(SEEDS),20) GROKSTUDY_OUTAGE_S=30 GROKSTUDY_FAULTS_LOG=$(CURDIR)/test-output/faults.jsonl \
	    $(BIN)/python -m pytest -m faults
	$(BIN)/python benchmarks/faults.py test-output/faults.jsonl

check: setup  ## lint, format, types and the order of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup  ## the pages that are made from the code; tests compare them
	$(BIN)/python -m grokstudy.orchestrator.manual > docs/commands.md
	$(BIN)/python -m grokstudy.orchestrator.study.guide > docs/study.md
	$(BIN)/grokstudy schema > docs/study.schema.json

FAMILIES := decoupling comparison complex_reasoning k_hop synthetic_facts tree_path in_context length_generalisation affine_icl cot_icl graph_navigation motif_chains
GALLERY  ?= results

gallery: setup  ## train what is missing of the families' studies in GALLERY (results), then draw docs/gallery.md (about an hour on 2 cores)
	for study in $(FAMILIES); do $(BIN)/grokstudy run $$study --root $(GALLERY) --local || exit; done
	$(BIN)/grokstudy gallery $(GALLERY) --out docs/gallery.md

clean:  ## remove the environment (results stay)
	rm -rf $(VENV)

bench: setup  ## benchmarks: one JSON line per figure, each a comparison made side by side (about an hour on 2 cores)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m trainables bench
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.anchors
	$(BIN)/python -m benchmarks.earlier
	$(BIN)/python -m benchmarks.writing
	$(BIN)/python -m benchmarks.processes
	$(BIN)/python -m benchmarks.probes
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.scheduling 100
	$(BIN)/python -m benchmarks.scale 100 1000
	$(BIN)/python -m benchmarks.mlflow_sync 50
	$(BIN)/python -m benchmarks.reader 300 3000
	$(BIN)/python -m benchmarks.verify
	$(BIN)/python -m benchmarks.finished 100 1000
	$(BIN)/python -m benchmarks.boundary 20
