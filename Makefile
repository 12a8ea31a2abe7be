# Needs only Python >= 3.11 and make. Targets that use the environment create it first, from requirements-cpu.lock.
PYTHON ?= python3
SEED ?=
RUN := $(if $(SEED),-$(SEED))
# Shared by the cold start and RL, so that RL does not decode again the clips that the cold start has seen.
CACHE := data.cache.dir=runs/cache
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(shell cat requirements-cpu.lock pyproject.toml | cksum | cut -d' ' -f1)

.PHONY: setup demo unit test test-slow coverage check lint types format docs reference bench lock clean
.DEFAULT_GOAL := setup

setup: $(STAMP)  ## create the CPU environment from the lock

$(STAMP): requirements-cpu.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps -r requirements-cpu.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	rm -f $(VENV)/.installed-*
	touch $@

demo: setup  ## clips, cold start, RL and report; SEED=1 writes runs/toy-1
	$(BIN)/vrl toy toy
	$(BIN)/vrl sft conf/toy/sft.yaml seed=$(or $(SEED),0) name=toy-sft$(RUN) resume=auto $(CACHE)
	$(BIN)/vrl train conf/toy/rl.yaml seed=$(or $(SEED),0) name=toy$(RUN) model.path=runs/toy-sft$(RUN) resume=auto $(CACHE)
	$(BIN)/vrl report runs/toy$(RUN)

unit: setup  ## unit tests: fast, no Ray, no vLLM
	$(BIN)/python -m pytest -m "not slow and not gpu" tests/test_house.py tests/unit

test: setup  ## every test that is not marked slow or gpu; eight to nine minutes on two cores
	$(BIN)/python -m pytest -m "not slow and not gpu"

test-slow: setup  ## tests that take minutes each; TESTS=tests/chaos selects some
	$(BIN)/python -m pytest -m "slow and not gpu" $(TESTS)

coverage: setup  ## line coverage of vrl/ by the unit tests, in the terminal and build/coverage
	mkdir -p build
	COVERAGE_FILE=build/.coverage $(BIN)/python -m pytest --cov=vrl --cov-report=term --cov-report=html:build/coverage \
	  -m "not slow and not gpu" tests/test_house.py tests/unit

check: lint types  ## lint, format and types: run before every commit

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/pyright

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup  ## build the site into build/site; a broken link or anchor fails the build
	$(BIN)/zensical build --clean --strict

reference: setup  ## regenerate what is generated from the code: two pages of docs and the Grafana dashboards
	$(BIN)/python -m vrl.reference > docs/configuration.md
	$(BIN)/python -m vrl.observability.reference
	$(BIN)/python -m vrl.observability.dashboards

bench: setup
	$(BIN)/python benchmarks/bench_driver.py
	$(BIN)/python benchmarks/bench_decode.py
	$(BIN)/python benchmarks/bench_step.py
	$(BIN)/python benchmarks/bench_observability.py
	$(BIN)/python benchmarks/bench_learner.py
	$(BIN)/python benchmarks/bench_logprob_memory.py
	$(BIN)/python benchmarks/bench_inference.py

# Excluded: torchaudio and torchcodec break a CPU-only torch. transformers imports scikit-learn if it is installed, and
# killed workers then leak semaphores. Nothing here needs any of them.
lock:  ## recompile requirements-cpu.lock
	$(BIN)/pip-compile --quiet --extra cpu --extra dev --strip-extras --no-header --no-annotate --no-emit-index-url \
	  --no-emit-find-links --unsafe-package torchaudio --unsafe-package torchcodec \
	  $(foreach name,sentence-transformers scikit-learn scipy joblib threadpoolctl narwhals,--unsafe-package $(name)) \
	  -o requirements-cpu.lock pyproject.toml

clean:
	rm -rf $(VENV) runs toy build .cache *.egg-info
