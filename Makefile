# Everything a fresh machine with Python >= 3.11 and make needs. `make demo` and `make test` set up by themselves.
PYTHON ?= python3
SEED ?=
RUN := $(if $(SEED),-$(SEED))
# A clip that the cold start has seen is not decoded again.
CACHE := data.cache.dir=runs/cache
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(shell cat requirements-cpu.lock pyproject.toml | cksum | cut -d' ' -f1)

.PHONY: setup demo test test-slow check lint types format bench lock clean
.DEFAULT_GOAL := setup

setup: $(STAMP)  ## the CPU environment, from the full lock

$(STAMP): requirements-cpu.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps -r requirements-cpu.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	rm -f $(VENV)/.installed-*
	touch $@

demo: setup  ## the main job: data, cold start, RL, report; SEED=1 for another, runs/toy-1
	$(BIN)/vrl toy toy
	$(BIN)/vrl sft conf/toy_sft.yaml seed=$(or $(SEED),0) name=toy-sft$(RUN) resume=auto $(CACHE)
	$(BIN)/vrl train conf/toy.yaml seed=$(or $(SEED),0) name=toy$(RUN) model.path=runs/toy-sft$(RUN) resume=auto $(CACHE)
	$(BIN)/vrl report runs/toy$(RUN)

test: setup  ## everything that fits in a quarter of an hour on two cores
	$(BIN)/python -m pytest -m "not slow and not gpu"

test-slow: setup  ## the tests that take minutes each; TESTS=tests/chaos for some of them
	$(BIN)/python -m pytest -m "slow and not gpu" $(TESTS)

check: lint types  ## what CI asks before it runs tests

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/pyright

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/python benchmarks/bench_driver.py
	$(BIN)/python benchmarks/bench_decode.py
	$(BIN)/python benchmarks/bench_step.py
	$(BIN)/python benchmarks/bench_observability.py
	$(BIN)/python benchmarks/bench_learner.py
	$(BIN)/python benchmarks/bench_logprob_memory.py
	$(BIN)/python benchmarks/bench_inference.py

# Left out: torchaudio and torchcodec break a CPU-only torch; scikit-learn, once there, is imported by transformers and
# leaks semaphores of every killed worker. Nothing here needs them.
lock:  ## recompile requirements-cpu.lock
	$(BIN)/pip-compile --quiet --extra cpu --extra dev --strip-extras --no-header --no-annotate --no-emit-index-url \
	  --no-emit-find-links --unsafe-package torchaudio --unsafe-package torchcodec \
	  $(foreach name,sentence-transformers scikit-learn scipy joblib threadpoolctl narwhals,--unsafe-package $(name)) \
	  -o requirements-cpu.lock pyproject.toml

clean:
	rm -rf $(VENV) runs toy build *.egg-info
