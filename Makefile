# `make run` tries the gateway, `make test` checks it. Needs Python 3.11 or newer and make; Node only for the client tests.
# `make help` prints every target with the words behind its `##`.

.DELETE_ON_ERROR:
.PHONY: run help quick test coverage lint

VENV    := .venv
BIN     := $(VENV)/bin
CLIENTS := tests/clients
IMAGE   ?= qstash-gateway
# What builds the pages has an environment of its own: no other tool needs its parts.
PAGES   := build/pages
# The first of these that is new enough; PYTHON=... names another one.
NEW_ENOUGH = import sys; sys.exit(sys.version_info < (3, 11))
PYTHON  ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(shell $(p) -c '$(NEW_ENOUGH)' 2>/dev/null && echo $(p))))
# pip compiles what it installs but not what it only points to; uncompiled, a start takes 40 % longer.
COMPILE := $(BIN)/python -m compileall -q gateway
PIP     := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Folders that need no processes, but for the laws in them that look at many thousands of cases.
QUICK   := tests/config tests/core tests/docs tests/files tests/policy tests/simulator tests/upstream/runs tests/wire \
           tests/callers/test_admission.py tests/callers/test_authn.py tests/callers/test_limits.py \
           tests/edge/test_connections.py tests/edge/test_head.py tests/serving/test_clock.py \
           tests/execution tests/upstream/test_shares.py tests/upstream/test_token_holder.py
LONG    := tests/policy/test_chosen_runs.py tests/policy/test_independent_matcher.py tests/policy/test_index.py \
           tests/policy/test_judgement_laws.py tests/policy/test_not_admitted.py tests/policy/test_scale.py \
           tests/policy/test_time_and_exceptions.py tests/policy/test_work_of_judging.py tests/core/test_reading.py \
           tests/upstream/runs/test_burst.py \
           tests/upstream/runs/test_faults.py tests/upstream/runs/test_own.py tests/upstream/runs/test_page_json.py \
           tests/upstream/runs/test_running.py tests/upstream/runs/test_served.py tests/execution/follow_up \
           tests/execution/resolve
# Most tests wait for a process, so there are more workers than cores; those that others would disturb come after them.
WORKERS  ?= 4
TOGETHER := $(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=worksteal --durations=10 -m 'not alone'
ALONE    := $(BIN)/python -m pytest --durations=10 -m alone
JUNIT    := build/junit
# Otherwise each of the workers, and each pytest that a test starts, would compile every test anew.
unexport PYTHONDONTWRITEBYTECODE
# What pytest exits with if PYTEST_ARGS chose no test of the one kind or the other.
NONE     := 5

run: $(VENV)/.compiled ## tries the gateway: a simulated QStash, keys made at that start, lines to paste
	@$(BIN)/qstash-gateway demo

help: ## prints this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

quick: $(VENV)/.dev $(VENV)/.compiled lint ## checks a change in under a minute: `make lint`, and the laws that are fast
	HYPOTHESIS_PROFILE=quick $(BIN)/python -m pytest -q -x $(QUICK) $(addprefix --ignore=,$(LONG)) $(PYTEST_ARGS)

test: $(VENV)/.dev $(VENV)/.compiled lint $(CLIENTS)/node_modules/.package-lock.json $(PAGES)/.made ## checks everything that CI checks
	@rm -rf $(JUNIT) && mkdir -p $(JUNIT)
	@status=0; \
	$(TOGETHER) --junit-xml=$(JUNIT)/together.xml $(PYTEST_ARGS) || $(if $(PYTEST_ARGS),[ $$? = $(NONE) ] || )status=1; \
	$(ALONE) --junit-xml=$(JUNIT)/alone.xml $(PYTEST_ARGS) || $(if $(PYTEST_ARGS),[ $$? = $(NONE) ] || )status=1; \
	exit $$status

# A test that compares times would compare those of the measurement.
coverage: $(VENV)/.dev $(VENV)/.compiled $(CLIENTS)/node_modules/.package-lock.json ## measures the branches that tests reach
	@rm -rf build/coverage && mkdir -p build/coverage
	$(TOGETHER) --cov --cov-report=term --cov-report=html:build/coverage/html $(PYTEST_ARGS)

lint: $(VENV)/.dev ## checks style, types, and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# ---------------------------------------------------------------- environments; a stamp is newer than all it was made from

$(VENV)/.made:
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(NEW_ENOUGH)' || \
	  { echo 'The gateway needs Python 3.11 or newer: install it, or name it with `make PYTHON=...`.' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo 'This Python cannot make virtual environments: install its venv package (Debian: python3-venv).' >&2; exit 1; }
	@echo 'Making $(VENV) with '"$$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.made requirements/run.txt requirements/build.txt pyproject.toml
	@echo 'Installing the gateway'
	@$(PIP) install --require-hashes -r requirements/run.txt -r requirements/build.txt
	@$(PIP) install --no-build-isolation --no-deps --no-index -e .
	@$(COMPILE)
	@touch $@

$(VENV)/.compiled: $(VENV)/.run $(shell find gateway -name '*.py')
	@$(COMPILE)
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	@echo 'Installing the tools for tests'
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

# The clients are the ones of the lock file. Without npm their tests skip, and under CI=true fail.
$(CLIENTS)/node_modules/.package-lock.json: $(CLIENTS)/package.json $(CLIENTS)/package-lock.json
	@if command -v npm >/dev/null; then \
	  echo 'Installing the official clients'; \
	  cd $(CLIENTS) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error && touch node_modules/.package-lock.json; \
	else echo 'npm is not here: the tests of the official clients will not run'; fi

$(PAGES)/.made: requirements/docs.txt $(VENV)/.made
	@echo 'Installing what builds the pages'
	@rm -rf $(PAGES)
	@$(BIN)/python -m venv $(PAGES)
	@$(PAGES)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/docs.txt
	@touch $@

# ---------------------------------------------------------------- longer proofs, with their figures in docs/reliability.md

.PHONY: proof crash disk fuzz controls calendar
proof: crash disk fuzz controls ## proves what `make test` cannot in its time; takes hours

# The calendar tests aside.
calendar: $(VENV)/.dev $(VENV)/.compiled $(CLIENTS)/node_modules/.package-lock.json ## runs the tests DAYS=400 days ahead
	$(BIN)/python -m tests.support.calendar --days $(or $(DAYS),400) -- \
	  $(CURDIR)/$(BIN)/python -m pytest --deselect tests/system/test_calendar.py $(PYTEST_ARGS)

crash: $(VENV)/.dev ## kills a serving gateway two thousand times, and reads the record and the store
	$(BIN)/python -m tests.reliability.crash --rounds 1000
	$(BIN)/python -m tests.reliability.crash --rounds 0 --plan-rounds 0 --restart-rounds 0 --state-rounds 200 --postgresql

disk: $(VENV)/.dev ## lets every system call of the audit log fail in turn
	$(BIN)/python -m tests.reliability.disk

fuzz: $(VENV)/.dev ## feeds every reader of foreign bytes generated ones, ten minutes for each of five readers
	$(BIN)/python -m tests.reliability.fuzz --minutes 10

controls: $(VENV)/.dev ## puts known bugs in, one by one: a test has to fail for each
	$(BIN)/python -m tests.reliability.controls

# ---------------------------------------------------------------- benchmarks; docs/performance.md says what each figure means

# What the gateway is measured beside comes from wheels, in an environment of its own; nginx and wrk from the system.
PEERS := build/bench/peers

# An environment on a Python built with profiles, where the machine has one; else it is the one in $(VENV).
FASTEST := build/bench/python

.PHONY: bench microbench growth soak instructions
bench: $(FASTEST)/.made $(PEERS)/.made ## measures the gateway beside nginx, Envoy and Caddy; BENCH_ARGS=--quick
	$(FASTEST)/bin/python -m benchmarks.compare $(BENCH_ARGS)

growth: $(FASTEST)/.made ## measures what costs grow with
	$(FASTEST)/bin/python -m benchmarks.growth $(GROWTH_ARGS)

# Compiled before: else the first of the three gateways compiles, the others find its work, and the difference is counted.
instructions: $(VENV)/.compiled ## counts what a request takes in instructions; fails 10 % above the baseline
	@$(BIN)/python -m benchmarks.instructions $(INSTRUCTIONS_ARGS)

soak: $(VENV)/.run ## sends a million requests, and watches memory, files and threads
	$(BIN)/python -m benchmarks.soak $(SOAK_ARGS)

microbench: $(VENV)/.dev ## times the parts beside the baseline; CHANGES_ARGS=--save makes a new one
	@mkdir -p build/microbench
	@rm -f build/microbench/result.json
	@$(BIN)/python -m pytest benchmarks/micro -q --benchmark-only --benchmark-max-time=0.2 --benchmark-min-rounds=20 \
	  --benchmark-warmup=on --benchmark-columns=min --benchmark-json=build/microbench/result.json >build/microbench/output \
	  || { cat build/microbench/output; exit 1; }
	@$(BIN)/python -m benchmarks.micro.changes build/microbench/result.json $(CHANGES_ARGS)

$(FASTEST)/.made: requirements/run.txt benchmarks/harness/builds.py $(VENV)/.run
	@rm -rf $(FASTEST)
	@$$($(BIN)/python -m benchmarks.harness.builds) -m venv $(FASTEST)
	@echo "Installing the gateway on $$($(FASTEST)/bin/python -m benchmarks.harness.builds --describe)"
	@$(FASTEST)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/run.txt
	@touch $@

$(PEERS)/.made: benchmarks/peers.txt $(VENV)/.made
	@echo 'Installing what the gateway is measured beside'
	@rm -rf $(PEERS)
	@$(BIN)/python -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r benchmarks/peers.txt
	@touch $@

# ---------------------------------------------------------------- for maintainers

.PHONY: pictures tables docs lock wheel dist image clean
# run.txt is what the image holds, otel.txt the same with what sends traces; the others add to them and agree with them.
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
        --no-header --upgrade pyproject.toml

pictures: $(VENV)/.run ## draws docs/pictures/*.svg from the texts and the record beside them
	$(BIN)/python docs/pictures/draw.py
	$(BIN)/python docs/pictures/panels.py

tables: $(VENV)/.run ## writes the tables of docs/record.md from the declarations of the events
	$(BIN)/python docs/tables.py

docs: $(PAGES)/.made ## builds the pages as a site in build/site, and checks every link
	@$(PAGES)/bin/python -m release.pages build/site

lock: $(VENV)/.dev ## renews the versions and hashes in requirements/
	$(BIN)/$(LOCK) --extra dev -o requirements/dev.txt
	$(BIN)/$(LOCK) -c requirements/dev.txt -o requirements/run.txt
	$(BIN)/$(LOCK) --extra otel -c requirements/dev.txt -o requirements/otel.txt
	$(BIN)/$(subst pyproject.toml,requirements/fuzz.in,$(LOCK)) -c requirements/run.txt -o requirements/fuzz.txt
	$(BIN)/$(subst pyproject.toml,requirements/docs.in,$(LOCK)) -o requirements/docs.txt
	$(BIN)/$(subst pyproject.toml,benchmarks/peers.in,$(LOCK)) -o benchmarks/peers.txt
	echo 'hatchling' | $(BIN)/$(subst pyproject.toml,-,$(LOCK)) -c requirements/dev.txt -o requirements/build.txt

wheel: $(VENV)/.run ## builds the wheel into dist/
	@$(PIP) wheel --no-build-isolation --no-deps --no-index -w dist .

dist: $(VENV)/.dev ## makes the release of the last commit in dist/: wheel, source, list of parts (SBOM), SHA256SUMS
	@$(BIN)/python -m release.dist dist

image: ## builds the container image
	@command -v docker >/dev/null || { echo 'docker is not here; see docs/docker.md' >&2; exit 1; }
	docker build --pull -t $(IMAGE) .

clean: ## removes what was built and installed here
	rm -rf $(VENV) build dist $(CLIENTS)/node_modules
