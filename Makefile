# Two commands do everything on a fresh clone: `make demo` and `make test`. `make help` names the rest.

SHELL := /bin/bash
# A shim of a version manager may be there without its Python, so it is run and not just looked up.
PYTHON ?= $(shell python3.11 -c 'import sys; print(sys.executable)' 2>/dev/null || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
# requirements.txt pins what was resolved on Python 3.11; other versions resolve for themselves.
PINS = $(shell $(BIN)/python -c 'import sys; print("-c requirements.txt" * (sys.version_info[:2] == (3, 11)))')
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PINS)

# As many tests at a time as there are cores; those of many seconds are left to `make ci`.
TESTS = $(BIN)/python -m pytest -m "not slow"

.PHONY: help demo test lint types core pipeline t fix bench hooks package ci dali cloud engines actionlint clean

help:
	@echo "make demo    makes sample images and exports them to $(DEMO)/out"
	@echo "make test    lint, types, and all tests but the slow ones"
	@echo "make lint    runs ruff, its check of the layout, and import-linter"
	@echo "make types   runs mypy"
	@echo "make core    tests/unit: the core without Beam, in less than a minute"
	@echo "make pipeline tests/pipeline: what runs pipelines on the local runner"
	@echo "make t T=... the tests of a file or folder, up to the first that fails (ARGS=... goes to pytest)"
	@echo "make fix     mends what ruff can mend, and the layout"
	@echo "make bench   how fast an export is here, against tar and a bare loop, in a few minutes"
	@echo "make hooks   has git run the quick checks before each commit, types and core before each push"
	@echo "make package builds wheel and sdist, checks both, and exports with what they install"
	@echo "make ci      every check there is, slow tests included (.ci/run); a good hour"
	@echo "make dali    installs NVIDIA DALI too, so that its tests and benchmarks/speed/gpu.py run"
	@echo "make cloud   installs what Google Cloud, S3 and the images in templates/ need, so that their tests run"
	@echo "make engines builds Prism and fetches Flink's job server, so that their tests run"
	@echo "make actionlint builds what checks .github/workflows, so that its test runs (needs Go)"
	@echo "make clean   removes $(VENV), $(DEMO) and what the tools leave"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python setup.py requirements.txt
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.installed-test: $(BIN)/python setup.py requirements.txt
	$(INSTALL) --editable '.[test]'
	@touch $(VENV)/.installed $@

$(VENV)/.installed-dali: $(VENV)/.installed-test
	$(INSTALL) --editable '.[test,gpu-cu13]'
	@touch $@

demo: $(VENV)/.installed
	rm -rf $(DEMO)/samples $(DEMO)/out
	$(BIN)/python examples/make_samples.py $(DEMO)/samples
	$(BIN)/python -m beam_export export --input $(DEMO)/samples --output_dir $(DEMO)/out --images_per_tar 20
	@echo
	@echo "Look at $(DEMO)/out (made from $(DEMO)/samples):"
	@ls -l $(DEMO)/out
	@echo "The images of a shard: tar tvf $$(ls $(DEMO)/out/images-*.tar | head -n 1)"

test: lint types
	$(TESTS) -n auto

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo --no-cache

types: $(VENV)/.installed-test
	$(BIN)/mypy

core: $(VENV)/.installed-test
	$(TESTS) -n auto tests/unit

pipeline: $(VENV)/.installed-test
	$(TESTS) -n auto tests/pipeline

t: $(VENV)/.installed-test
	$(if $(T),,$(error make t T=path: which tests? For example T=tests/unit/planning))
	$(TESTS) -x -q --no-header $(ARGS) $(T)

fix: $(VENV)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-test
	$(BIN)/python benchmarks/speed/export_speed.py --images 2000 --runs 3 --result local

$(VENV)/.installed-dev: $(VENV)/.installed-test
	$(INSTALL) --editable '.[test,dev]'
	@touch $@

hooks: $(VENV)/.installed-dev
	$(BIN)/pre-commit install --hook-type pre-commit --hook-type pre-push

package: $(VENV)/.installed-dev
	.ci/package $(BIN)/python

ci:
	.ci/run

dali: $(VENV)/.installed-dali

$(VENV)/.installed-cloud: $(VENV)/.installed-test
	$(INSTALL) --editable '.[test,test-aws,gcp,aws,templates]'
	@touch $@

cloud: $(VENV)/.installed-cloud

# What cannot be had is said, and its tests are skipped.
engines:
	engines/prism.sh --build
	@engines/flink.sh --fetch || echo "make engines: there is no job server of Flink to be had; its tests are skipped"

# A program in Go: what a package index has under this name downloads it from elsewhere.
actionlint: $(BIN)/python
	GOBIN=$(CURDIR)/$(BIN) go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

clean:
	rm -rf $(VENV) .venvs $(DEMO) build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
