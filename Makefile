# Everything a person does with this project. `make` alone lists it.

ARCH ?= x86_64
VENV := .local/venv/bin
NODE_MODULES := tests/oidc-provider/node_modules

LAMBDA_ARCH_x86_64 := --x86-64
LAMBDA_ARCH_arm64 := --arm64
RUST_TARGET_x86_64 := x86_64-unknown-linux-gnu
RUST_TARGET_arm64 := aarch64-unknown-linux-gnu

.DEFAULT_GOAL := help
.PHONY: help invoke-local build test lint bench bench-instructions tools clean

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

invoke-local: ## Harvest on this machine, with everything emulated (EVENT=file, SOURCE=definition.json)
	@python3 local/run.py

build: tools ## Make the zip for Lambda's provided.al2023 (ARCH=x86_64 or arm64)
	@test -n "$(LAMBDA_ARCH_$(ARCH))" || { echo "error: ARCH must be x86_64 or arm64" >&2; exit 1; }
	@test -d "$$(rustc --print sysroot)/lib/rustlib/$(RUST_TARGET_$(ARCH))" || { echo \
	  "error: Rust's standard library for $(RUST_TARGET_$(ARCH)) is missing: rustup target add $(RUST_TARGET_$(ARCH))" >&2; exit 1; }
	@PATH="$(CURDIR)/$(VENV):$$PATH" cargo lambda build --release --locked --bin bootstrap \
	  $(LAMBDA_ARCH_$(ARCH)) --output-format zip --lambda-dir target/lambda/$(ARCH)
	@ls -l target/lambda/$(ARCH)/bootstrap/bootstrap.zip

test: tools $(NODE_MODULES) ## Run all tests: units, real servers on loopback, the binary in Lambda's runtime
	@cargo test --locked

lint: tools ## Check formatting, lints, and which module may know which
	@cargo fmt --check
	@cargo clippy --locked --all-targets -- --deny warnings
	@$(VENV)/ruff format --quiet --check local benches && $(VENV)/ruff check --quiet local benches
	@.ci/check-rooms

bench: tools ## Measure it beside a bare program and a peer, about ten minutes; writes benches/results.md
	@PYTHONPATH=local $(VENV)/python benches/bench.py

bench-instructions: tools ## Count instructions; fails if they grew by more than 5 % (COMMIT=1 takes them as they are)
	@PYTHONPATH=local $(VENV)/python benches/instructions.py $(if $(COMMIT),--commit)

tools: # What tests and builds need of Python, in .local/venv
	@python3 local/run.py --tools-only

$(NODE_MODULES): tests/oidc-provider/package-lock.json
	@command -v npm >/dev/null || { echo "error: npm is missing: install Node.js 20 or newer" >&2; exit 1; }
	@cd tests/oidc-provider && npm ci --no-audit --no-fund --silent && touch node_modules

clean: ## Remove everything that was built, and the local run's tools and state
	@rm -rf target .local $(NODE_MODULES)
