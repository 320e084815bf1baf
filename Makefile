# `make` lists the targets. Another interpreter: make test PYTHON=python3.12
PYTHON ?= python3
VENV ?= .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
TORCH := torch==2.13.0

.PHONY: help race test lint types dist pytest docs

help: ## list the targets
	@sed -n 's/^\([a-z]*\): .*## /make \1  # /p' $(MAKEFILE_LIST)

race: $(VENV)/installed ## create .venv, install, run: thalweg race digits
	$(VENV)/bin/thalweg race digits

test: lint types dist pytest ## create .venv, install, run linters, types and all tests, build the package

lint: $(VENV)/installed-for-tests
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check

types: $(VENV)/installed-for-tests
	$(VENV)/bin/mypy

dist: $(VENV)/installed-for-tests ## build what an index takes, and check it, in dist/
	rm -rf dist
	$(VENV)/bin/python -m build --no-isolation
	$(VENV)/bin/twine check --strict dist/*

pytest: $(VENV)/installed-for-tests
	$(VENV)/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder # a kernel is compiled in one process

docs: $(VENV)/installed-for-docs ## create .venv, install, build the site in docs/_build/html, check its links
	$(VENV)/bin/python -m sphinx --quiet --fail-on-warning --builder html docs docs/_build/html
	$(VENV)/bin/python docs/links.py docs/_build/html

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade 'pip>=25.1' # the first that knows --group
	$(PIP) install -c constraints.txt -e .
	@touch $@

# torch comes by itself and first, so that one exact build is there when the test group asks for any.
$(VENV)/installed-for-tests: $(VENV)/installed
	$(PIP) install -c constraints.txt $(TORCH)
	$(PIP) install -c constraints.txt --group test
	@touch $@

$(VENV)/installed-for-docs: $(VENV)/installed
	$(PIP) install -c constraints.txt $(TORCH)
	$(PIP) install -c constraints.txt --group docs
	@touch $@
