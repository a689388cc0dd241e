# On a fresh machine with Python 3.11 or newer and make, every target sets up what it needs by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off
# Faster than pip, which takes its place where uv finds no index.
UV := $(BIN)/python -m uv pip install --no-progress --python $(BIN)/python --no-deps --require-hashes -r requirements/dev.txt
STEP := $(PYTHON) scripts/run_step.py
MATRIX := .venv-matrix
OLDEST := $(MATRIX)/airflow-3.0/bin/python
AZURITE := azurite@3.35.0
AXE := axe-core@4.11.0
BENCHMARKS := imports triggers inputs sql table_out stores renditions checks gallery_server ledger claims costs \
	observability poll_frontier rows
# mkdocs has an environment of its own. The site has the programs that its theme would fetch from elsewhere.
DOCS := .venv-docs
MERMAID := mermaid@11.17.2
IFRAME_WORKER := iframe-worker@1.0.4

.PHONY: help demo test coverage lint docs snippets site pictures bench matrix soak dist lock clean

help: ## Say what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/runtime ## Generate and land one image with a real Airflow DAG
	@$(BIN)/python -m scripts.demo

test: $(VENV)/dev ## Run all tests; those of clusters beside all others
	$(BIN)/python scripts/run_tests.py

coverage: $(VENV)/dev ## Run the tests without clusters, and print their branch coverage
	$(BIN)/python -m pytest -q -m "not cluster" --cov

lint: $(VENV)/dev ## Check style, types, layers and snippets
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m scripts.model_page --check
	$(BIN)/python scripts/sync_snippets.py --check

docs: snippets site ## Bring model page and snippets up to date, build the documentation into site/, and check its links
	FLUX_SITE=site $(BIN)/python -m pytest -q tests/docs/test_site.py
	@echo "Open $$(ls -d site/[0-9]*/ | tail -1)index.html"

site: $(VENV)/dev $(DOCS)/ready ## Build the documentation into site/
	@$(STEP) 1/1 "Building the documentation" "10 to 30 seconds" \
		sh -c '$(BIN)/python -m scripts.site.facts > $(DOCS)/facts.json && $(DOCS)/bin/python -m scripts.site $(DOCS)/facts.json $(DOCS)/npm/node_modules'

snippets: $(VENV)/dev ## Bring the model page, and the snippets in README and docs, up to date
	$(BIN)/python -m scripts.model_page
	$(BIN)/python scripts/sync_snippets.py

pictures: $(VENV)/dev ## Take the pictures of docs/images anew, from a real Airflow; NAMES="task-page demo" for some
	$(BIN)/python -m scripts.pictures $(NAMES)

bench: $(VENV)/dev ## Print the figures of benchmarks/, all of them, and fail at the end if one is not as expected
	@failed=; for run in $(BENCHMARKS) "landed_cpu --rounds 3" \
		"landed_cpu --active 240 --active 1000 --one-core --images 4800" batch governor; do \
		echo "python -m benchmarks.$$run"; $(BIN)/python -m benchmarks.$$run || failed="$$failed $${run%% *}"; done; \
		[ -z "$$failed" ] || { echo "Not as expected:$$failed"; exit 1; }

matrix: $(VENV)/dev ## Run the core of the tests on each Airflow and Python; NAMES="airflow-3.1 lowest" for some
	$(BIN)/python scripts/run_matrix.py $(NAMES)

soak: $(VENV)/dev ## All trials many times over, and the kill matrix on the oldest Airflow too; takes hours
	FLUX_TRIALS=500 $(BIN)/python -m pytest tests/landing/test_land_under_faults.py -q
	FLUX_LABELLED_IMAGES=200 $(BIN)/python -m pytest tests/batch/test_labelled_images.py -q
	FLUX_GALLERY_ROWS=10000 FLUX_REVIEW_CANDIDATES=100 $(BIN)/python -m pytest tests/browser -q -s
	FLUX_MONEY_EXAMPLES=300 $(BIN)/python -m pytest tests/batch/test_money_property.py tests/ledger/test_money_property.py -q
	FLUX_SQL_ROWS=100000 $(BIN)/python -m pytest tests/operators/test_row_source.py -q -s -k memory
	FLUX_CLAIM_PROCESSES=8 $(BIN)/python -m pytest tests/landing/test_claims_of_processes.py -q
	FLUX_TABLE_ROWS=100000 $(BIN)/python -m pytest tests/batch/test_product_table.py -q -s
	FLUX_BUDGET_PROCESSES=8 $(BIN)/python -m pytest tests/account/budgets/test_budget_kills.py -q -s
	FLUX_RECONCILE_ROWS=10000 $(BIN)/python -m pytest tests/accounting/reconcile/test_reconcile_under_faults.py -q -s
	FLUX_SHARED_CHANGES=100 $(BIN)/python -m pytest tests/account/test_shared_state.py -q
	FLUX_WEBHOOKS=1000 $(BIN)/python -m pytest tests/plugin/test_webhooks_at_once.py tests/cluster/test_webhooks.py -q -s
	for n in 1 2 3; do FLUX_RACE_IMAGES=240 $(BIN)/python -m pytest tests/cluster/test_race.py -q -s || exit 1; done
	for n in 1 2 3; do FLUX_BATCH_IMAGES=480 FLUX_BATCH_KILLS=5 $(BIN)/python -m pytest tests/cluster/test_batch.py -q -s || exit 1; done
	FLUX_KILLS=5 $(BIN)/python -m pytest tests/cluster -q --deselect tests/cluster/test_race.py
	$(BIN)/python scripts/run_matrix.py --install-only airflow-3.0
	$(OLDEST) -m pytest tests/cluster/test_kill_worker.py tests/cluster/test_kill_services.py -q -k "not scheduler_is_terminated"
	$(OLDEST) -m pytest tests/cluster/test_ledger_table.py tests/cluster/test_batch.py -q

dist: $(VENV)/dev ## Build wheel and sdist, check their contents, install the wheel, resolve with pip all extras, or EXTRAS
	$(BIN)/python scripts/check_dist.py $(EXTRAS)

lock: $(VENV)/dev ## Renew the hashed requirements
	$(BIN)/python scripts/lock.py

clean: ## Remove what the targets have made
	rm -rf $(VENV) $(MATRIX) $(DOCS) site .demo dist build .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/runtime: requirements/runtime.txt pyproject.toml | $(VENV)/python
	@$(STEP) 1/3 "Installing Airflow and the provider into $(VENV), once" "2 to 5 minutes" \
		$(PIP) --no-deps --require-hashes -r requirements/runtime.txt
	@$(PIP) --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev: requirements/dev.txt pyproject.toml | $(VENV)/python
	@sed -n '/^uv==/,/[^\\]$$/p' requirements/dev.txt > $(VENV)/uv.txt # its version and hashes
	@$(STEP) 1/2 "Installing what tests and linters need into $(VENV), once" "1 to 10 minutes" \
		sh -c "$(PIP) --quiet --no-deps --require-hashes -r $(VENV)/uv.txt && $(UV) || $(PIP) --no-deps --require-hashes -r requirements/dev.txt"
	@$(PIP) --quiet --no-deps --no-build-isolation -e .
	@if command -v npm >/dev/null; then $(STEP) 2/2 "Installing azurite and axe-core for the tests" "10 to 60 seconds" \
		npm install --silent --no-audit --no-fund --prefix $(VENV)/npm $(AZURITE) $(AXE); \
	else echo "There is no npm to install azurite and axe-core with: tests of Azure and in browsers will be skipped."; fi
	@touch $@ $(VENV)/runtime

$(DOCS)/ready: requirements/docs.txt
	@command -v npm >/dev/null || { echo "npm is needed: it installs the programs that draw diagrams and search."; exit 1; }
	@$(PYTHON) -m venv $(DOCS)
	@$(STEP) 1/1 "Installing mkdocs into $(DOCS), once" "10 to 60 seconds" sh -c '\
		$(DOCS)/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --require-hashes -r requirements/docs.txt && \
		npm install --silent --no-audit --no-fund --prefix $(DOCS)/npm $(MERMAID) $(IFRAME_WORKER)'
	@touch $@
