# The environment is made, or brought up to date, by whichever target first needs it; after that
# nothing here touches the network. PYTHON=python3.12 picks the interpreter for a new environment.
L2O_VENV ?= .venv
PORT ?= 5000
bin := $(L2O_VENV)/bin
ready := $(L2O_VENV)/.ready

# The environment keeps its bytecode: without it every job compiles its imports again, for seconds.
unexport PYTHONDONTWRITEBYTECODE
# Rules call `l2o`, and it must be the one installed here.
export PATH := $(abspath $(bin)):$(PATH)

.PHONY: help run test lint bench ui lock clean
help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-6s %s\n", $$1, $$2}' Makefile

run: $(ready)  ## Run the whole pipeline (ARGS="--config scale=smoke", ARGS=baselines, ...)
	$(bin)/snakemake --cores all $(ARGS)

test: $(ready)  ## Run the unit and workflow tests (ARGS="-k name")
	$(bin)/pytest -n auto --maxprocesses 4 --dist loadfile tests/unit tests/workflow $(ARGS)

lint: $(ready)  ## Check style and formatting of the package and the workflow
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/snakefmt --check Snakefile workflow
	$(bin)/snakemake --lint

bench: export GLIBC_TUNABLES := glibc.malloc.hugetlb=1  # as the workflow sets it
bench: $(ready)  ## Measure speed and print the numbers
	@for file in tests/benchmarks/[!_]*.py; do echo "$$file"; $(bin)/python "$$file" $(ARGS) || exit; done

ui: export MLFLOW_DISABLE_TELEMETRY := true
ui: $(ready)  ## Browse the runs in MLflow, on this machine only (PORT=5000)
	$(bin)/mlflow ui --backend-store-uri sqlite:///results/mlflow.db --host 127.0.0.1 --port $(PORT) --workers 1

lock:  ## Resolve requirements.lock again, needs uv (ARGS=--upgrade: newest versions)
	uv pip compile pyproject.toml --extra slurm --group dev --group build --output-file requirements.lock \
	  --universal --python-version 3.11 --fork-strategy fewest --generate-hashes --no-annotate \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet $(ARGS)

clean:  ## Remove the environment and the caches; results stay
	rm -rf $(L2O_VENV) .cache .pytest_cache .ruff_cache

$(ready): requirements.lock pyproject.toml
	@L2O_VENV="$(L2O_VENV)" .ci/environment
