# Everything is set up by the targets themselves; a fresh machine needs only make, git and Rust.
# Build output goes to a cache folder outside of the clone, so that another clone is quick.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/syncline/target
BIN = $(CARGO_TARGET_DIR)/debug/syncline
DEMO_BIN = $(CARGO_TARGET_DIR)/demo/syncline

.PHONY: help demo test check bench soak web setup-web setup-test clean

help: ## Shows what can be made.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: web ## Sets up what is needed and runs the demo: open the address that it prints.
	@echo "building syncline (the first time takes about ten minutes on two cores; DataFusion is large)"
	cargo build --workspace --bins --profile demo
	$(DEMO_BIN) demo $(DEMO_ARGS)

test: setup-test web ## Sets up what is needed and runs every check and test.
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings
	cargo test --workspace
	cd web && npm test
	cd web && SYNCLINE_BIN=$(BIN) npm run e2e

check: ## The quick checks.
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings

bench: ## Measures speed (release build); docs/performance.md says what of.
	cargo bench --workspace --benches
	cargo run --release --bin syncline -- bench nexmark

soak: ## The random tests with many more cases, and other ones every time.
	@from=$${SYNCLINE_SEEDS_FROM:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}; \
	echo "random queries and schedules from seed $$from (SYNCLINE_SEEDS_FROM)"; \
	SYNCLINE_SEEDS_FROM=$$from SYNCLINE_CASES=2000 SYNCLINE_KILLS=1000 \
	SYNCLINE_SIMULATIONS=50000 cargo test --workspace

web: setup-web web/dist/index.html ## Builds the page.

web/dist/index.html: $(shell find web/src web/public web/index.html -type f) web/package-lock.json web/vite.config.ts
	cd web && npm ci --no-audit --no-fund && npm run build

setup-web:
	@scripts/setup.sh web

setup-test:
	@scripts/setup.sh test

clean: ## Removes what was built in the clone.
	rm -rf web/dist web/node_modules web/test-results syncline-demo
