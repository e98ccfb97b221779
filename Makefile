# make run    set up and run the main job on the drawn sample (no GPU, no server, no weights)
# make test   set up with every extra and pass the tests
# make soak   the long kill-and-resume rounds
# make bench  the benchmarks (minutes to an hour; see tests/benchmarks)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := dev,ray,s3,studio,vlm
PYTEST_FLAGS ?=

.PHONY: run test soak bench clean chromium

run: $(VENV)/core
	$(BIN)/dermcot sample sample
	$(BIN)/dermcot run

test: $(VENV)/all chromium
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests -n 2 --dist loadfile $(PYTEST_FLAGS)

# The browser that the tests look at reports with; where it cannot be installed they are skipped, saying so.
chromium:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || \
	{ ROOT=$$([ "$$(id -u)" = 0 ] || echo "sudo -n"); $$ROOT apt-get update -q && \
	$$ROOT env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends chromium chromium-driver; } || \
	echo "chromium and chromium-driver could not be installed: the browser tests will be skipped"

soak: $(VENV)/all
	$(BIN)/python -m pytest tests -m soak -s $(PYTEST_FLAGS)

bench: $(VENV)/all
	$(BIN)/python -m tests.benchmarks.bench_inspect
	$(BIN)/python -m tests.benchmarks.bench_near_duplicates
	$(BIN)/python -m tests.benchmarks.bench_rubric
	$(BIN)/python -m tests.benchmarks.bench_narratives
	$(BIN)/python -m tests.benchmarks.bench_standardise
	$(BIN)/python -m tests.benchmarks.bench_build
	$(BIN)/python -m tests.benchmarks.bench_annotate
	$(BIN)/python -m tests.benchmarks.bench_transformers
	$(BIN)/python -m tests.benchmarks.bench_engine_overhead
	$(BIN)/python -m tests.benchmarks.bench_teacher
	$(BIN)/python -m tests.benchmarks.bench_coverage

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/core: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/all: $(VENV)/core pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

clean:
	rm -rf $(VENV) workspace releases sample
