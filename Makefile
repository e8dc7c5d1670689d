# Integer Tickets
#
#   make repro                        set up, run the pipeline, show the results
#   make study NAME=sst2 [DATA=...]   run presets/sst2.yaml beside the default run; SET="grid.seeds=[0]": a part of it;
#                                     RUN=int8: that part of a preset that is run in parts
#   make test                         lint, types, tests
#   make setup                        only set up .venv (the others do it when needed)
#   make fuzz                         every engine on 100,000 random sentences, into reports/fuzz.txt
#   make lock                         bring requirements.lock up to date with pyproject.toml (needs uv)
#   make clean                        remove .venv and the caches of tools; results stay
#
# Set-up installs the build of PyTorch that pip finds. To choose another one, before the first set-up or after
# `make clean`:
#
#   make setup TORCH="torch==2.13.0 --index-url URL"   from another index, for instance one of CPU builds
#   make setup SYSTEM_TORCH=1                          keep the torch 2.13.0 that $(PYTHON) already has
#   make setup PYTHON=python3.13                       another Python, 3.11 to 3.13

PYTHON ?= python3
TORCH ?= torch==2.13.0
REPRO ?= .venv/bin/integer-tickets run -j 2
STAMP := .venv/.set-up

# The stages call `python`: it is the one of the environment.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help setup repro study test fuzz lock clean

help:
	@sed -n '3,/^$$/s/^# \{0,1\}//p' Makefile

setup: $(STAMP)

# After the lock, torch finds its light dependencies installed; only a GPU build brings more of its own.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	|| { echo "make: $(PYTHON) is not a Python 3.11 to 3.13; name one, as in make PYTHON=python3.11" >&2; exit 2; }
	@echo "Setting up .venv (a few minutes and 2.6 GB of disk the first time; a GPU build of PyTorch takes more)"
	test -x .venv/bin/pip || $(PYTHON) -m venv $(if $(SYSTEM_TORCH),--system-site-packages) .venv
	.venv/bin/pip install -q --no-deps --require-hashes -r requirements.lock
	.venv/bin/pip install -q $(TORCH)
	.venv/bin/pip install -q --no-deps --no-build-isolation -e .
	@test -e .git || .venv/bin/dvc config --local core.no_scm true  # unpacked from an archive
	@touch $@

repro: $(STAMP)
	$(REPRO)
	@.venv/bin/python -m stages show

study: $(STAMP)
	@test -n "$(NAME)" || { echo "make study: name a preset, as in make study NAME=sst2" >&2; exit 2; }
	.venv/bin/python -m stages.study $(NAME) $(if $(RUN),--run $(RUN)) $(if $(DATA),--data "$(DATA)") \
	  $(if $(SET),--set "$(SET)")

test: $(STAMP)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	OMP_NUM_THREADS=1 .venv/bin/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# torch stays out, because its wheel differs between CPU and GPU builds, and so do the libraries of a GPU build.
lock:
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" \
	    --extra train --extra peers --extra dev pyproject.toml -o requirements.lock
	awk '/^[a-z]/ {drop = /^(torch|nvidia-|cuda-)/} !drop' requirements.lock > requirements.lock.new
	mv requirements.lock.new requirements.lock

# Every engine on 100,000 random sentences, and the tokenizer in C on as many random texts: some minutes.
fuzz: $(STAMP)
	.venv/bin/integer-tickets conformance --fuzz 100000 | tee reports/fuzz.txt

clean:
	rm -rf .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache src/*.egg-info
	find src stages tests -name __pycache__ -prune -exec rm -rf {} +
