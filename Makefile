# The verbs of this project. `make play` and `make test` need nothing but Python 3.11 or later and a package index.
.PHONY: help play test lint docs bench clean

PYTHON ?= python3
BIN := .venv/bin

help: ## List the verbs
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 10

play: .venv/core ## Set up everything and ask a real model its three questions
	@$(BIN)/qkvlab pull smollm2
	@echo
	@$(BIN)/qkvlab ask "The cat drank because it was thirsty" --token " it" --head 13.8

test: lint ## Set up and pass every test
	$(BIN)/qkvlab pull smollm2
	$(BIN)/qkvlab pull minilm
	$(BIN)/python -m pytest

lint: .venv/dev ## Style, types, and docs that match the program
	$(BIN)/ruff check src tests benchmarks docs
	$(BIN)/ruff format --check src tests benchmarks docs
	$(BIN)/mypy
	$(BIN)/cog --check README.md docs/*.md

docs: .venv/dev ## Make the generated parts of the docs again
	$(BIN)/qkvlab pull smollm2
	$(BIN)/python docs/terminal.py
	$(BIN)/cog -r README.md docs/*.md

bench: .venv/dev ## Measure speed beside peers, in one run each
	$(BIN)/qkvlab pull smollm2
	$(BIN)/python -m benchmarks

.venv/core: pyproject.toml
	@sh scripts/make-venv "$(PYTHON)"
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.venv/dev: pyproject.toml constraints.txt
	@sh scripts/make-venv "$(PYTHON)"
	$(BIN)/python -m pip install --quiet --editable ".[dev,transformers]" --constraint constraints.txt
	@touch $@ .venv/core

clean: ## Remove what the verbs made here (the model cache stays)
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis benchmarks/results
