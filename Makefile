SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo archive-demo test lint docs bench fuzz train evidence lock

# The Python that the virtual environment is made with.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready

# Your own CT for the demo (a DICOM folder, a zip of one, a NIfTI or NRRD file), and where results go.
STUDY ?=
OUTPUT ?= output/demo

# For make archive-demo: where it writes, and whether it goes on running to be looked at.
ARCHIVE_OUTPUT ?= output/archive-demo
STAY ?=

# Options of the training, e.g. make train TRAIN=--only-metrics
TRAIN ?=

# Options of the fuzz run, e.g. make fuzz FUZZ="--studies 50 --only mixed"
FUZZ ?=

# Real head CT, for training and for the tests that want it.
export ICH_DATA ?= $(CURDIR)/../shared/data
export PYTHONUTF8 := 1
export PYTHONUNBUFFERED := 1

help:  ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | while IFS=$$'\t' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

$(READY): pyproject.toml setup/constraints.txt setup/venv.sh
	@PYTHON="$(PYTHON)" setup/venv.sh $(VENV)
	@touch $@

demo: $(READY)  ## Read two made-up head CTs, with and without haemorrhage, or your own: make demo STUDY=folder-or-file [OUTPUT=folder]
	@PYTHONPATH=monai_bundle $(VENV)/bin/python -m scripts.demo $(if $(STUDY),--study "$(STUDY)") --output "$(OUTPUT)"

archive-demo: $(READY)  ## Start an Orthanc and the DICOM node on this machine: two made-up studies in, objects back [STAY=1: go on running]
	@setup/debian-packages.sh archive || true
	@PYTHONPATH=monai_bundle $(VENV)/bin/python -m scripts.archive_demo --output "$(ARCHIVE_OUTPUT)" $(if $(STAY),--stay)

# A file's tests stay on one worker, which then makes their fixtures once; files come in the order of Testing/conftest.py.
# The module's tests have processes of their own: Slicer, too, has not loaded torch. A worker that crashes ends the run.
PYTEST := $(VENV)/bin/python -m pytest -q --numprocesses logical --maxprocesses 4 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder --cov

test: $(READY)  ## Run the whole test suite
	@setup/debian-packages.sh test || true
	@$(PYTEST) --cov-report= --cov-fail-under 0 --ignore Testing/slicer Testing
	@$(PYTEST) --cov-append --cov-report term Testing/slicer

lint: $(READY)  ## Check style, format, types and who may import whom
	@$(VENV)/bin/python -m ruff check .
	@$(VENV)/bin/python -m ruff format --check .
	@PYTHONPATH=monai_bundle:ICHDiagnosis:Testing/repository $(VENV)/bin/lint-imports --no-logo
	@$(VENV)/bin/python -m mypy

docs: $(READY)  ## Build the documentation site into build/site (index.html)
	@$(VENV)/bin/python -m mkdocs build --strict --quiet

bench: $(READY)  ## Time each stage of a reading beside VGG16 and the reference implementation
	@cd monai_bundle && ../$(VENV)/bin/python -m research.bench

fuzz: $(READY)  ## Read 500 mutated studies: no error, no hang, no other head without a warning [FUZZ=options]
	@cd monai_bundle && ../$(VENV)/bin/python -m research.fuzz $(FUZZ)

train: $(READY)  ## Measure on held-out patients, then train the shipped weights, on the data in ICH_DATA [TRAIN=options]
	@cd monai_bundle && ../$(VENV)/bin/python -m research.training.cross_validation $(TRAIN)

evidence: $(READY)  ## Measure everything that docs/EVIDENCE.md and the model card state, and write them
	@cd monai_bundle && ../$(VENV)/bin/python -m research.evidence

lock: $(READY)  ## Write the version of every installed package into setup/constraints.txt
	@{ head -2 setup/constraints.txt; $(VENV)/bin/python -m pip freeze | sed 's/+cpu$$//'; } > setup/constraints.new
	@mv setup/constraints.new setup/constraints.txt
