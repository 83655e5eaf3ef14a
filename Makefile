# Latchkey. `make` alone explains itself.
#
# What every target needs is installed into .venv the first time, and again when the pinned requirements change.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3 || echo python3)
RUN_DIR ?= .run
JOBS ?= 5
BIN := .venv/bin
INSTALLED := .venv/.installed-$(shell cat requirements*.txt | cksum | cut -d' ' -f1)

# A notice of MkDocs' theme about its successor, at every build.
export NO_MKDOCS_2_WARNING := 1

# Compiled once, not by every process at every start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(INSTALLED) ## Start everything, log two people in, show what happened, end everything
	@$(BIN)/python -m devstack demo

.PHONY: up
up: $(INSTALLED) ## Run the whole stack until Ctrl-C (RUN_DIR=.run2 for a second one, LOGIN_WORKERS=n, PORT=n)
	@$(BIN)/python -m devstack up --run-dir $(RUN_DIR)

.PHONY: test
test: $(INSTALLED) ## Run the whole test suite, five files at a time, for tests wait more than they work (JOBS=n for others, JOBS=0 for one after the other)
	@$(BIN)/python -m pytest -m "not slow and not engines" -n $(JOBS) --dist loadfile $(ARGS)

.PHONY: load
load: $(INSTALLED) ## Run the load test: 2,000 logins in one worker, 200 scans at once (4 min)
	@$(BIN)/python -m pytest -m slow $(ARGS)

.PHONY: chaos
chaos: $(INSTALLED) ## Use a whole stack in every way while faults strike (SEED=n decides what, MINUTES=m how long)
	@$(BIN)/python -m chaos --seed $(or $(SEED),1) --minutes $(or $(MINUTES),2)

.PHONY: check
check: $(INSTALLED) ## Check format, lint, types, import contracts, the compose file, the documentation, migration drift, reference drift
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .
	$(BIN)/lint-imports
	$(BIN)/yamllint --strict docker-compose.yml deploy
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/python -m docsite --check
	$(BIN)/python -m mkdocs build --quiet --strict
	$(BIN)/python -m devstack with-database $(BIN)/python -m app migrate --check
	$(BIN)/python -m web.reference --check
	$(BIN)/python -m openapi_spec_validator docs/openapi.json
	@if docker compose version >/dev/null 2>&1; then echo docker compose config --quiet; docker compose config --quiet; fi

.PHONY: bench
bench: $(INSTALLED) ## Run the benchmarks, write bench/results.json (ONLY=name for one)
	@$(BIN)/python -m bench $(ONLY)

.PHONY: reference
reference: $(INSTALLED) ## Write docs/openapi.json, docs/reference and the TypeScript client's types (where npm is) from the code
	@$(BIN)/python -m web.reference
	@if command -v npm >/dev/null; then cd client-typescript && npm ci --ignore-scripts --silent && npm run --silent schema; fi

.PHONY: docs
docs: $(INSTALLED) ## Build the documentation into site/: open site/index.html
	@$(BIN)/python -m web.reference
	@$(BIN)/python -m docsite
	@$(BIN)/python -m mkdocs build --quiet --strict
	@echo "site/index.html (with its search: $(BIN)/python -m mkdocs serve)"

.PHONY: screenshots
screenshots: $(INSTALLED) ## Take a picture of each state of the hosted page, of the API reference and of the sandbox's phone (needs chromium), into docs/screenshots
	@SCREENSHOTS=docs/screenshots $(BIN)/python -m pytest -q -n 0 tests/web/test_page_states.py tests/web/test_page_languages.py \
	  tests/web/test_mini_app_page.py tests/web/test_widget.py tests/web/test_docs.py tests/sandbox/test_phone_page.py

.PHONY: format
format: $(INSTALLED) ## Format the code and mend what can be mended
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

.PHONY: lock
lock: $(INSTALLED) ## Pin requirements*.in into requirements*.txt
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-header --no-annotate --generate-hashes -o requirements.txt requirements.in
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-header --no-annotate --generate-hashes -o requirements-dev.txt requirements-dev.in client/pyproject.toml
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-header --no-annotate --generate-hashes --override requirements-exporter.override -o requirements-exporter.txt requirements-exporter.in

.PHONY: sbom
sbom: $(INSTALLED) ## Write what the image is made of into sbom.cdx.json (CycloneDX)
	@$(BIN)/cyclonedx-py requirements requirements.txt --of JSON -o sbom.cdx.json
	@echo "sbom.cdx.json: $$(grep -c '"bom-ref": "requirements' sbom.cdx.json) packages"

.PHONY: audit
audit: $(INSTALLED) ## Look up known vulnerabilities of what is pinned (asks PyPI's advisory database)
	@$(BIN)/pip-audit --disable-pip --require-hashes -r requirements.txt

.PHONY: release
release: $(INSTALLED) ## Check that the tree is a release and build it into dist/ (VERSION=0.1.0; TAG=1 tags it; pushes nothing)
	@$(BIN)/python -m deploy.release $(or $(VERSION),$(error say which: make release VERSION=0.1.0)) $(if $(TAG),--tag)

.PHONY: version
version: $(INSTALLED) ## Write another version wherever it stands (VERSION=0.2.0)
	@$(BIN)/python -m deploy.release --set $(or $(VERSION),$(error say which: make version VERSION=0.2.0))

.PHONY: pin-images
pin-images: $(INSTALLED) ## Pin the images of docker-compose.yml and Dockerfile to their digests (asks their registries)
	@$(BIN)/python -m deploy.pin_images

.PHONY: kubernetes
kubernetes: $(INSTALLED) ## Write the alerts into deploy/kubernetes for the Prometheus operator
	@$(BIN)/python -m deploy.kubernetes_alerts

.PHONY: dashboards
dashboards: $(INSTALLED) ## Write Grafana's dashboards from deploy/dashboards.py
	@$(BIN)/python -m deploy.dashboards

.PHONY: pictures
pictures: $(INSTALLED) ## Draw each dashboard for the documentation, from a stack in use (needs Prometheus; 7 min)
	@$(BIN)/python -m docsite.dashboards

define NEW_REVISION
import os, sys
from app.database import make_engine
from app.migrations import new_revision
new_revision(make_engine(os.environ["DATABASE_URL"]), sys.argv[1])
endef
export NEW_REVISION

.PHONY: migration
migration: $(INSTALLED) ## Write a migration from the models' changes (MESSAGE="add a column")
	@$(BIN)/python -m devstack with-database $(BIN)/python -c "$$NEW_REVISION" "$(or $(MESSAGE),$(error say what it does: make migration MESSAGE='add a column'))"

.PHONY: install
install: $(INSTALLED) ## Install what the other targets need into .venv

.PHONY: prometheus
prometheus: ## Unpack Debian's Prometheus into .prometheus, with which the tests try the alerts (needs apt-get)
	@deploy/prometheus/unpack.sh

.PHONY: engines
engines: $(INSTALLED) ## Unpack Debian's RabbitMQ, Redis and PostgreSQL with TLS and PgBouncer into .engines, and log people in with each (needs apt-get)
	@[ -d .engines/usr ] || devstack/unpack_engines.sh || echo "no servers from Debian's packages: their tests are left out"
	@$(BIN)/python -m pytest -n 2 --dist loadfile tests/engines $(ARGS)

.PHONY: clean
clean: ## Remove the environments, the local stack's data and every cache
	@if [ -f $(RUN_DIR)/postgres.home ]; then rm -rf "$$(cat $(RUN_DIR)/postgres.home)"; fi
	@rm -rf .venv .venv-exporter .venv-image .prometheus .engines dist site $(RUN_DIR) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache tests/sessions/libraries/node_modules
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED):
	@PYTHON="$(PYTHON)" STAMP="$@" devstack/install.sh
