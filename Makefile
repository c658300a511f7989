# `make demo`, `make test` and `make page` build .venv first where it is missing. Once it is built, all run offline, but that
# `make page` installs its packages of npm once.
PYTHON ?= python3
BIN := .venv/bin
# what is imported is compiled then: of all that is installed a third
PIP := install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt
# where it is set, as in many images, each worker would compile the tests anew, and each process the packages
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo page page-files page-score check-npm test test-house test-fleet test-clients lint ruff mypy imports docs bench env environments check-python clean

demo: env
	$(BIN)/python -m demo

# The page that learns (docs/page.md), served on this machine until Ctrl-C. Its static files are in build/page: `make page-files`.
PORT ?= 8000
PAGE := .cache/page
DISTIL := $(BIN)/python -m distill
EXPORT := $(BIN)/python -m export make backend=stock overwrite=true

page: page-files
	@node device/js/page/serve.mjs build/page $(PORT)

page-files: check-npm $(PAGE)/shapes.zip $(PAGE)/digits.zip device/js/node_modules/.installed
	@cd device/js && npm run --silent page

# Lighthouse on the built page, which npx fetches.
page-score: page-files
	@node device/js/page/score.mjs build/page

check-npm:
	@command -v npm > /dev/null || { echo "error: make page needs npm, which comes with Node 20 or newer: install it first" >&2; exit 2; }

# No layers are compared for the shapes: their mentee is no worse for it, and its replay samples are a quarter of the size.
$(PAGE)/shapes.zip: configs/experiment/strokes.yaml | check-npm .venv/.ready
	rm -rf $(PAGE)/strokes-run && $(DISTIL) experiment=strokes '~probes.late' run_dir=$(PAGE)/strokes-run
	$(EXPORT) checkpoint=$(PAGE)/strokes-run/mentee.safetensors bundle=$(PAGE)/shapes \
	    spare_classes=8 supervision_per_class=10 golden_per_class=10

$(PAGE)/digits.zip: configs/experiment/mnist5k_demo.yaml | check-npm .venv/.ready
	rm -rf $(PAGE)/mnist-run && $(DISTIL) experiment=mnist5k_demo run_dir=$(PAGE)/mnist-run
	$(EXPORT) checkpoint=$(PAGE)/mnist-run/mentee.safetensors bundle=$(PAGE)/digits supervision_per_class=8

device/js/node_modules/.installed: device/js/package-lock.json | check-npm
	npm ci --prefix device/js --ignore-scripts --no-audit --no-fund
	cp $< $@

# The tests of the TypeScript client and the page, and those of the fleet, wait for a browser and for processes: they run beside
# the others, and say what they have to at their end.
test: lint
	@$(MAKE) --no-print-directory --jobs 3 --keep-going test-house test-clients test-fleet

# The networks of the tests are small: one thread each. Workers wait for processes and for each other's bundles, so there is one
# more of them than the cores of a small machine; one that has done its share takes from the others.
test-house:
	OMP_NUM_THREADS=1 MENTEE_SITE=docs/_build/html $(BIN)/python -m pytest --numprocesses 3 --dist worksteal \
	    $(addprefix --ignore=,$(CLIENTS))

CLIENTS := tests/device/js tests/device/page
AT_ITS_END = said=$$(OMP_NUM_THREADS=1 $(1) 2>&1); code=$$?; echo "$$said"; exit $$code

test-fleet:
	@if test -e .venv/fleet/bin/flwr; then $(call AT_ITS_END,.venv/fleet/bin/python -m pytest tests/fleet); \
	else echo "no Flower: the tests of the fleet were skipped"; fi

test-clients:
	@$(call AT_ITS_END,$(BIN)/python -m pytest $(CLIENTS))

# Two at a time, what each says in one piece (make 4 and newer), and all that fail are seen.
lint: env
	@$(MAKE) --no-print-directory --jobs 2 --keep-going $(if $(filter output-sync,$(.FEATURES)),--output-sync) mypy docs ruff imports

ruff:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

mypy:
	$(BIN)/mypy

imports:
	$(BIN)/lint-imports

# -E: the tables come from the code, whose changes Sphinx does not see
docs: env
	$(BIN)/sphinx-build -q -E -W --keep-going -n docs docs/_build/html

bench: env
	$(BIN)/python -m benchmarks all

# The small ones are made while pip downloads and unpacks torch.
env:
	@$(MAKE) --no-print-directory --jobs 3 environments

environments: .venv/.ready .venv/device/.ready .venv/web.ready .venv/fleet.ready
	@:

# says at once, in one line, which Python versions work, and what to do about a .venv that does not
check-python:
	@sh .ci/check-python '$(PYTHON)' '$(origin PYTHON)'

$(BIN)/pip: | check-python
	$(PYTHON) -m venv .venv

# torch and torchvision come from the index with plain pip, both the newest: a CPU-only torch does not fit its torchvision
.venv/.ready: pyproject.toml constraints.txt device/python/pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip $(PIP) torch torchvision
	$(BIN)/python -m pip $(PIP) --editable '.[dev]'
	$(BIN)/python -m pip $(PIP) --no-deps --editable ./device/python
	touch $@

# the phone's side: an environment in which torch and onnx cannot be imported, since they are not there
.venv/device/.ready: device/python/requirements.txt | $(BIN)/pip
	$(BIN)/python -m venv .venv/device
	.venv/device/bin/python -m pip $(PIP) --no-deps --requirement device/python/requirements.txt --editable ./device/python
	touch $@

# the web build of ONNX Runtime, to hold the Python one against in Node; without npm those tests are skipped, and say so
.venv/web.ready: device/web/package-lock.json | $(BIN)/pip
	@if command -v npm > /dev/null && npm ci --prefix device/web --silent --no-audit --no-fund; then :; \
	else echo "no npm, or it could not install onnxruntime-web: the tests in Node are skipped"; fi
	touch $@

# Flower has an environment of its own, which sees .venv's packages after its own, and in it the device's: Flower and what
# .venv/device has, neither torch nor onnx. Where it cannot be installed the tests of the fleet are skipped, and say so
.venv/fleet.ready: .ci/fleet-requirements.txt .ci/see.py .venv/device/.ready
	@if $(BIN)/python -m venv .venv/fleet && .venv/fleet/bin/python -m pip $(FLOWER) && $(BIN)/python -m venv .venv/fleet/device && \
	.venv/fleet/device/bin/python -m pip $(FLOWER) --no-deps && $(SEEN); \
	then :; else rm -rf .venv/fleet; echo "Flower could not be installed: the tests of the fleet are skipped"; fi
	touch $@

PACKAGES := lib/python*/site-packages
FLOWER := install --quiet --disable-pip-version-check --no-compile --requirement .ci/fleet-requirements.txt
SEEN = .venv/fleet/device/bin/python .ci/see.py .venv/device/$(PACKAGES) .venv/fleet/$(PACKAGES) . device/python && \
	.venv/fleet/bin/python .ci/see.py --links .venv/$(PACKAGES)

clean:
	rm -rf .venv device/web/node_modules device/js/node_modules device/js/dist .cache runs bundles build dist docs/_build *.egg-info device/python/*.egg-info
