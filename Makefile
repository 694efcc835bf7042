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

.PHONY: help setup run test integration lint bench fault-drill ui server audit lock clean
help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' Makefile

setup: $(ready)  ## Make the environment, and nothing else

run: $(ready)  ## Run the whole pipeline (ARGS="--config scale=smoke", ARGS=all_baselines, ...)
	$(bin)/snakemake --cores all $(ARGS)

test: $(ready)  ## Run the unit and workflow tests (ARGS="-k name")
	$(bin)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
	  tests/unit tests/workflow $(ARGS)

integration: $(ready)  ## Test with real Slurm, MLflow server and browser (Debian packages: .ci/packages)
	$(bin)/pytest -rsP -n 2 --dist loadfile tests/integration $(ARGS)

lint: $(ready)  ## Check style, formatting and layers of the package and the workflow
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/snakefmt --check Snakefile workflow
	$(bin)/lint-imports --no-logo --cache-dir .cache/import-linter
	$(bin)/snakemake --lint

bench: export GLIBC_TUNABLES := glibc.malloc.hugetlb=1  # as the workflow sets it
bench: $(ready)  ## Measure speed and print the numbers
	@for file in tests/benchmarks/[!_]*.py; do echo "$$file"; $(bin)/python "$$file" $(ARGS) || exit; done

fault-drill: $(ready)  ## Break a small pipeline in every way of docs/faults.md (ARGS=--short: a part)
	$(bin)/python -m tests.drill $(ARGS)

ui: $(ready)  ## Browse the runs in MLflow, on this machine only (PORT=5000)
	$(bin)/l2o track ui --port $(PORT) $(ARGS)

server: $(ready)  ## An MLflow server with PostgreSQL and a password, on this machine only (PORT=5000)
	workflow/scripts/mlflow-server results/.mlflow-server $(PORT)

audit:  ## Look for known vulnerabilities in the locked packages, needs the network
	@.ci/audit $(ARGS)

lock:  ## Resolve requirements.lock again, needs uv (ARGS=--upgrade: newest versions)
	uv pip compile pyproject.toml --extra slurm --extra server --group dev --group build --output-file requirements.lock \
	  --universal --python-version 3.11 --fork-strategy fewest --generate-hashes --no-annotate \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet $(ARGS)

clean:  ## Remove the environment and the caches; results stay
	rm -rf $(L2O_VENV) .cache .pytest_cache .ruff_cache

$(ready): requirements.lock pyproject.toml
	@L2O_VENV="$(L2O_VENV)" .ci/environment
