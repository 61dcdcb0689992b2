CARGO ?= cargo

.PHONY: help verify fix fmt clippy doc test fuzz-check deny advisories

help: ## Print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

verify: fmt clippy doc test fuzz-check deny ## Check everything, change nothing

fix: ## Make the changes that tools can make
	$(CARGO) clippy --fix --allow-dirty --allow-staged --workspace --all-targets --all-features
	$(CARGO) fmt --all

fmt: ## Check the layout of the code
	$(CARGO) fmt --all --check

clippy: ## Lint every target; a warning fails
	$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings

doc: ## Build the documentation; a warning fails
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --workspace --all-features

test: ## Run every test
	$(CARGO) test --workspace

fuzz-check: ## Check that the fuzz targets compile
	@if [ -f fuzz/Cargo.toml ]; then $(CARGO) check --manifest-path fuzz/Cargo.toml; \
	else echo "fuzz-check: there is no fuzz/Cargo.toml, nothing was checked"; fi

deny: ## Check licences, bans and sources of dependencies, if cargo-deny is installed
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny check bans licenses sources; \
	else echo "deny: cargo-deny is not installed, nothing was checked (cargo install --locked cargo-deny)"; fi

advisories: ## Check dependencies against the advisory database (needs network and cargo-deny)
	$(CARGO) deny check advisories
