# What a contributor runs. `make` alone lists it.

.DEFAULT_GOAL := help
.PHONY: help setup build packages test lint fmt soak demo bench bench-million bench-learning

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.* ## /\1\t/p' $(MAKEFILE_LIST) | while IFS='	' read -r name what; do \
		printf '  make %-14s %s\n' "$$name" "$$what"; done

setup: ## Install the Debian packages that the tests need (as root)
	scripts/setup

build: ## Build the release program: target/release/unitmedic
	cargo build --release --locked

packages: ## Build the release as .deb and .rpm: target/packages
	scripts/package

test: ## Run everything that CI runs (as root: it boots hosts and a virtual machine)
	scripts/test

lint: ## Check format, clippy and dependencies only
	scripts/test format clippy dependencies

fmt: ## Format the code
	cargo fmt

soak: ## Watch workers that are well for ten minutes on a host: nothing may be done (as root)
	UNITMEDIC_CONTROL_SECONDS=600 cargo test --locked --test host nothing_is_done -- --nocapture

demo: setup ## Watch workers fail and heal on a throwaway host (STAY=1 keeps the host up)
	cargo build --release --locked --bin unitmedic --example demo
	@STAY=$(STAY) cargo run --quiet --release --locked --example demo

bench: ## Run the benchmarks, side by side with the peers (as root: it boots a host)
	@rm -f target/bench-rows
	UNITMEDIC_BENCH_ROWS=$(CURDIR)/target/bench-rows cargo bench --locked \
		--bench engine --bench exposition --bench store --bench replay --bench host
	@cargo bench --quiet --locked --bench host -- table target/bench-rows

bench-million: ## Measure pages and totals of a million incidents (a minute, and 1.5 GB in the temporary directory)
	cargo bench --locked --bench million

bench-learning: ## Measure what is learned: patterns on labelled logs (LOGHUB=DIR), actions in simulation
	cargo bench --locked --bench learning
