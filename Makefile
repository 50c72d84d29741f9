# Each target makes the virtual environment it needs, once, and again when a requirement changes.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PLUGINS := $(patsubst %/setup.cfg,%,$(wildcard plugins/*/setup.cfg))
DEPENDENCIES := constraints.txt setup.cfg pyproject.toml $(PLUGINS:%=%/setup.cfg)
DEMO_DATA := data/demo
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check install --constraint constraints.txt
# pip looks plugins' requirement "mindloom" up in what is installed already, so the core goes first.
INSTALL := $(PIP) --no-build-isolation --editable
# The oldest releases that setup.cfg admits; constraints.txt has the newest.
OLDEST := pluggy==1.5.0 omegaconf==2.3.0 antlr4-python3-runtime==4.9.3
INSTALL_PLUGINS := $(PIP) --no-build-isolation $(PLUGINS:%=--editable %)
TESTS := -m "not extra"
# What depends on them most: tested with the oldest too.
PLUGIN_SYSTEM := $(patsubst %,tests/test_%.py,registry signatures discovery config switches parsing blame cli)

.PHONY: help demo test test-all lint docs base bench clean

help:
	@echo "make demo   fine-tune a tiny Stable Diffusion XL on drawn shapes, in a few minutes on two cores"
	@echo "make test   run the tests, and the linters; make test-all: those that take too long for every day, too"
	@echo "make docs   build the documentation into build/docs"
	@echo "make base   train the tiny base model from scratch again (about 40 minutes on two cores)"
	@echo "make bench  measure everything, in half an hour on two quiet cores; QUICK=1: a look in minutes; SUBJECTS=\"unet sink\": some"
	@echo "make clean  remove the virtual environment, drawn data and runs"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run-ready: $(DEPENDENCIES) | $(BIN)/python
	@echo "installing mindloom and its plugins into $(VENV) ..."
	$(PIP) setuptools wheel
	$(INSTALL) .
	$(INSTALL_PLUGINS)
	@touch $@

$(VENV)/.test-ready: $(DEPENDENCIES) | $(BIN)/python
	@echo "installing mindloom, its plugins and the test tools into $(VENV) ..."
	$(PIP) setuptools wheel
	$(PIP) torch==2.13.0
	$(PIP) --no-deps open_clip_torch  # for its vocabulary file only; what it depends on is not needed
	$(INSTALL) '.[test,parity,docs,bench]'
	$(INSTALL_PLUGINS)
	@touch $@ $(VENV)/.run-ready

$(VENV)/.oldest-ready: setup.cfg | $(VENV)/.test-ready
	rm -rf $(VENV)/oldest
	$(BIN)/python -m pip --quiet --disable-pip-version-check install --no-deps --target $(VENV)/oldest $(OLDEST)
	@touch $@

$(DEMO_DATA)/.drawn: tools/draw_shapes.py | $(VENV)/.run-ready
	$(BIN)/python tools/draw_shapes.py $(DEMO_DATA) --theme demo --count 240 --holdout 32
	@touch $@

demo: $(VENV)/.run-ready $(DEMO_DATA)/.drawn
	$(BIN)/python train.py --config configs/demo.yaml

test: lint $(VENV)/.oldest-ready
	PYTHONPATH=$(abspath $(VENV)/oldest) $(BIN)/python -m pytest -q $(PLUGIN_SYSTEM)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(TESTS)  # files share what they compile

test-all: TESTS =
test-all: test

lint: $(VENV)/.test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.test-ready
	$(BIN)/python tools/make_reference.py
	$(BIN)/sphinx-build -W --keep-going -n -q -c docs . build/docs
	@echo "build/docs/index.html"

base: $(VENV)/.run-ready
	$(BIN)/python tools/make_tiny.py --out plugins/sdxl/mindloom_sdxl/assets/tiny.safetensors

bench: $(VENV)/.test-ready
	$(BIN)/python benchmarks/run.py $(if $(QUICK),--quick) $(if $(SUBJECTS),--subjects $(SUBJECTS))

clean:
	rm -rf $(VENV) $(DEMO_DATA) runs
