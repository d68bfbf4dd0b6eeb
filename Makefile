# What a developer does here; `make` alone lists it. On a fresh Debian with a Rust toolchain any of it can come first.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
CARGO ?= cargo
# What `make verify` explores beside the large worlds of the tests, as far as the steps go; minutes, and a few gigabytes.
# Without --max-steps they may take days.
VERIFY ?= --attempts 2 --participants 2 --no-end-horizons --depth-first --max-steps 100000000
VERIFY_SKU ?= --attempts 2 --participants 1 --units 1 --no-end-horizons --depth-first --max-steps 450000000
# Which clusters it simulates after that; the default takes some minutes.
SEEDS ?= --from 0 --count 1000000 --threads 2

.DEFAULT_GOAL := help
.PHONY: help setup setup-lint setup-fuzz build demo test lint chaos verify fuzz profile release bench clean-demo

help: ## List the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: ## Install what is missing here (Debian packages: a C compiler, Postgres, Python, Redis and ZooKeeper for tests)
	@scripts/setup.sh

build: setup ## Build everything
	$(CARGO) build --workspace --locked

demo: build ## See orders stay whole while a service is killed: starts, replays, kills, checks, stops
	@scripts/demo.sh

test: build ## Run all tests, on real processes and real Postgres
	$(CARGO) test --workspace --locked

setup-lint: ## Install what `make lint` needs besides (shellcheck; buf and cargo-deny under target/)
	@scripts/setup.sh --lint

lint: setup-lint ## Check format, clippy, protos, licences, dependencies and scripts
	@scripts/lint.sh

chaos: build ## Kill services, their Postgres, and both, at every crash point, under load (writes target/crash-matrix.md)
	ASSENT_CRASH_MATRIX=full ASSENT_CRASH_REPORT=$(CURDIR)/target/crash-matrix.md $(CARGO) test --locked -p tests --test crash_matrix -- --nocapture

verify: setup ## Model-check a larger world, simulate more clusters than the tests do (VERIFY="...", SEEDS="...")
	$(CARGO) test --release --locked -p sim --test exhaustive --test saga -- --ignored
	$(CARGO) run --release --locked -p sim -- $(VERIFY)
	$(CARGO) run --release --locked -p sim -- $(VERIFY_SKU)
	$(CARGO) run --release --locked -p sim -- seeds $(SEEDS)

setup-fuzz: ## Install what `make fuzz` needs besides (a C++ compiler; cargo-fuzz under target/)
	@scripts/setup.sh --fuzz

fuzz: setup-fuzz ## Try all that is decoded with made-up inputs, FUZZ_SECONDS a target (30; the first build takes minutes)
	@scripts/fuzz.sh

profile: setup ## Record what orders make the services do; `make release` and `make bench` then build them by that
	@scripts/release.sh --profile

release: setup ## Build what is run in earnest, by the profile if there is one (writes target/programs)
	@scripts/release.sh

bench: setup ## Compare with one Postgres alone on this machine, half an hour or BENCH="--quick" (writes target/bench)
	@scripts/bench.sh $(BENCH)

clean-demo: ## Remove what the demo left to look at
	@scripts/demo.sh --clean
