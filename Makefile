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

# What is compiled is kept, tests too: where an environment forbids it, each process of each run
# compiles all of it again.
export PYTHONDONTWRITEBYTECODE =

# As many tests at a time as there are cores; those of many seconds are left to `make ci`.
TESTS = $(BIN)/python -m pytest -m "not slow"

.PHONY: help demo test lint types fast core pipeline t fix bench peers hooks package ci dali cloud loaders loaders-all engines images browser actionlint clean

help:
	@echo "make demo    makes sample images, exports them to $(DEMO)/out, and a page that shows them"
	@echo "make test    lint, types, and all tests but the slow ones"
	@echo "make lint    runs ruff, its check of the layout, and import-linter"
	@echo "make types   runs mypy"
	@echo "make fast    all tests but the slow ones, without lint and types"
	@echo "make core    tests/unit: the core without Beam, in less than a minute"
	@echo "make pipeline tests/pipeline: what runs pipelines on the local runner"
	@echo "make t T=... the tests of a file or folder, up to the first that fails (ARGS=... goes to pytest)"
	@echo "make fix     mends what ruff can mend, and the layout"
	@echo "make bench   how fast an export is here, against tar and bare loops, in a few minutes"
	@echo "make peers   installs the tools of others that benchmarks/speed/export_speed.py compares with (1.1 GB)"
	@echo "make hooks   has git run the quick checks before each commit, types and core before each push"
	@echo "make package builds wheel and sdist, checks both, and exports with what they install"
	@echo "make ci      every check there is, slow tests included (.ci/run); a good hour"
	@echo "make dali    installs NVIDIA DALI too, so that its tests and benchmarks/speed/gpu.py run"
	@echo "make cloud   installs what Google Cloud, S3 and the images in templates/ need, so that their tests run"
	@echo "make loaders installs Ray, polars and Daft, so that the tests of loaders run with them"
	@echo "make loaders-all runs those with what brings PyTorch too, in an environment of its own (6 GB)"
	@echo "make engines builds Prism and fetches the job servers of Flink and Spark, so that their tests run"
	@echo "make images  builds the images of templates/ without Docker, as root, so that their tests run (needs Go)"
	@echo "make browser installs Chromium, as root, so that the tests that look at pages run"
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
	$(BIN)/python -m beam_export export --input $(DEMO)/samples --output_dir $(DEMO)/out --images_per_tar 20 \
		--labels folder
	$(BIN)/python -m beam_export report $(DEMO)/out
	@echo
	@echo "Look at $(DEMO)/out (made from $(DEMO)/samples):"
	@ls -l $(DEMO)/out
	@echo "The images of a shard: tar tvf $$(ls $(DEMO)/out/images-*.tar | head -n 1)"
	@echo "What is in it, to open in a browser: file://$(CURDIR)/$(DEMO)/out/_meta/report.html"

test: lint types fast

fast: $(VENV)/.installed-test
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
	$(BIN)/python benchmarks/speed/export_speed.py --small --peers none --result local

PEERS = .venvs/peers
$(PEERS)/.installed: benchmarks/speed/peers.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		img2dataset==1.47.0 nemo-curator==1.4.0 cosmos-xenna==0.2.0
	@touch $@

peers: $(PEERS)/.installed

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

$(VENV)/.installed-loaders: $(VENV)/.installed-test
	$(INSTALL) --editable '.[test,test-loaders]'
	$(INSTALL) --no-deps daft
	@touch $@

loaders: $(VENV)/.installed-loaders

LOADERS = .venvs/loaders
# Without the pins, which Megatron Energon does not go with. wids has left webdataset 1.0: it is taken
# out of the last version that has it.
$(LOADERS)/.installed: setup.py requirements.txt
	$(PYTHON) -m venv $(LOADERS)
	$(LOADERS)/bin/python -m pip install --quiet --disable-pip-version-check \
		--editable '.[test,test-loaders]' megatron-energon==7.4.1 torch==2.15.0
	$(LOADERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps daft==0.7.26
	$(LOADERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--target $(LOADERS)/wids webdataset==0.2.111
	cp -r $(LOADERS)/wids/wids $(LOADERS)/lib/python3.*/site-packages/
	@touch $@

loaders-all: $(LOADERS)/.installed
	$(LOADERS)/bin/python -m pytest -m slow tests/contract/test_loader_packages.py tests/contract/test_indexes.py

# What cannot be had is said, and its tests are skipped; in CI, which runs them, it is a failure.
engines:
	engines/prism.sh --build
	@for engine in flink spark; do engines/$$engine.sh --fetch \
		|| { echo "make engines: there is no job server of $$engine to be had; its tests are skipped"; \
			[ "$$BEAM_EXPORT_CI" != 1 ] || exit 1; }; done

# Says how large they are, too. What makes the root is a package of the system's.
images: cloud
	command -v debootstrap > /dev/null \
		|| { timeout 300 apt-get update -qq && timeout 300 apt-get install -qq -y --no-install-recommends debootstrap > /dev/null; }
	for image in worker "worker VARIANT=gpu" template; do $(BIN)/python benchmarks/image_sizes.py $$image || exit 1; done

# Looks at pages. It is a package of the system's, which only root installs.
browser:
	@command -v chromium chromium-browser google-chrome > /dev/null \
		|| (timeout 300 apt-get update -qq && timeout 300 apt-get install -qq -y --no-install-recommends chromium > /dev/null) \
		|| echo "make browser: Chromium could not be installed; the tests that look at pages are skipped"

# A program in Go: what a package index has under this name downloads it from elsewhere.
actionlint: $(BIN)/python
	GOBIN=$(CURDIR)/$(BIN) go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

clean:
	rm -rf $(VENV) .venvs .images $(DEMO) build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
