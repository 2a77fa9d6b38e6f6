# Everything a person does with this project. `make` alone lists it.

ARCH ?= x86_64
VENV := .local/venv/bin
FUZZ_SECONDS ?= 60
INFRA_VENV := .local/infra-venv/bin
PYTHON_CODE := local infra/tests diagrams benches
TERRAFORM = $(if $(shell command -v terraform),terraform -chdir=infra,$(error terraform is missing: install Terraform 1.11 or newer))
NODE_MODULES := tests/oidc-provider/node_modules

# Programs for Lambda. Each is made with its own feature of Cargo.toml alone, and .ci/check-zip knows how large it may be.
PROGRAMS := bootstrap connect
FEATURE_bootstrap := harvest
FEATURE_connect := connect

LAMBDA_ARCH_x86_64 := --x86-64
LAMBDA_ARCH_arm64 := --arm64
RUST_TARGET_x86_64 := x86_64-unknown-linux-gnu
RUST_TARGET_arm64 := aarch64-unknown-linux-gnu

.DEFAULT_GOAL := help
.PHONY: help invoke-local build test test-code test-commands fuzz lint bench bench-instructions docs plan deploy destroy add-source infra-check \
  infra-local diagrams tools infra-tools aws-tools clean programs $(PROGRAMS:%=zip-%)

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

invoke-local: tools ## Harvest on this machine, with everything emulated (EVENT=file, SOURCE=definition.json, KEEP=new-file.json)
	@$(VENV)/python local/run.py

build: $(PROGRAMS:%=zip-%) ## Make each program's zip for Lambda's provided.al2023 (ARCH=x86_64 or arm64)

$(PROGRAMS:%=zip-%): zip-%: tools
	@test -n "$(LAMBDA_ARCH_$(ARCH))" || { echo "error: ARCH must be x86_64 or arm64" >&2; exit 1; }
	@test -d "$$(rustc --print sysroot)/lib/rustlib/$(RUST_TARGET_$(ARCH))" || { echo \
	  "error: Rust's standard library for $(RUST_TARGET_$(ARCH)) is missing: rustup target add $(RUST_TARGET_$(ARCH))" >&2; exit 1; }
	@PATH="$(CURDIR)/$(VENV):$$PATH" cargo lambda build --release --locked --bin $* \
	  --no-default-features --features $(FEATURE_$*) \
	  $(LAMBDA_ARCH_$(ARCH)) --output-format zip --lambda-dir target/lambda/$(ARCH)
	@ls -l target/lambda/$(ARCH)/$*/bootstrap.zip

programs: # The names of the programs, for .ci/check-zip
	@echo $(PROGRAMS)

test: tools aws-tools $(NODE_MODULES) ## Run all tests: units, real servers on loopback, the binary in Lambda's runtime, the runbook
	@$(MAKE) --no-print-directory -j2 test-code test-commands

test-code: # Tests wait for servers more than they compute, so more of them run at once than there are cores
	@RUST_TEST_THREADS=$${RUST_TEST_THREADS:-4} cargo test --locked

test-commands: # The local run's tests, and the commands of the documents
	@$(VENV)/python -W ignore::ResourceWarning -m unittest discover --start-directory local/tests

fuzz: ## Fuzz what reads answers, definitions and callbacks, each target for FUZZ_SECONDS (60)
	@FUZZ_SECONDS="$(FUZZ_SECONDS)" fuzz/run

lint: tools ## Check formatting, lints, and which room may know which
	@cargo fmt --check
	@cargo clippy --locked --all-targets -- --deny warnings
	@cargo fmt --check --manifest-path fuzz/Cargo.toml
	@cargo check --quiet --locked --manifest-path fuzz/Cargo.toml --target-dir target
	@$(VENV)/ruff format --quiet --check $(PYTHON_CODE) && $(VENV)/ruff check --quiet $(PYTHON_CODE)
	@cargo fmt --all --check --manifest-path benches/Cargo.toml
	@cargo metadata --locked --format-version 1 --manifest-path benches/Cargo.toml >/dev/null
	@cargo test --quiet --locked --test architecture

bench: tools ## Measure it beside a bare program and a peer, about ten minutes; writes benches/results.md
	@PATH="$(CURDIR)/$(VENV):$$PATH" PYTHONPATH=local python benches/bench.py

bench-instructions: tools ## Count instructions; fails if they grew by more than 5 % (COMMIT=1 takes them as they are)
	@PATH="$(CURDIR)/$(VENV):$$PATH" PYTHONPATH=local python benches/instructions.py $(if $(COMMIT),--commit)

docs: ## Write anew what follows from src/providers and schemas: docs/providers.md, the tables of fields, the schema's list of providers
	@UPDATE_DOCS=1 cargo test --locked --quiet --test it _docs

plan: ## Show what a deployment would change in your AWS account (infra/README.md)
	@$(TERRAFORM) init -input=false && $(TERRAFORM) plan

deploy: ## Deploy to your AWS account, after asking
	@$(TERRAFORM) init -input=false && $(TERRAFORM) apply

destroy: tools ## Remove the deployment from your AWS account, after looking at its buckets, and asking
	@$(TERRAFORM) init -input=false && $(VENV)/python local/destroy.py

add-source: tools ## Put a source's definition into its secret (NAME=source, FILE=definition.json)
	@$(VENV)/python local/add_source.py

infra-check: tools infra-tools ## Check infra/ without an account (TF_PLUGIN_MIRROR=folder, where the provider can't be downloaded)
	@$(VENV)/python local/infra_check.py

infra-local: tools ## Apply infra/ to an emulator, harvest in it, change its keys, destroy it in every way
	@$(VENV)/python local/infra_local.py

diagrams: infra-tools ## Draw diagrams/ anew
	@command -v dot >/dev/null || { echo "error: graphviz is missing: install it (Debian, Ubuntu: apt install graphviz)" >&2; exit 1; }
	@$(INFRA_VENV)/python diagrams/architecture.py

tools: # What tests and builds need of Python, in .local/venv
	@python3 local/tools.py harvest

aws-tools: # The AWS command, which the runbook's commands are tested with, in .local/aws-venv
	@python3 local/tools.py aws

infra-tools: # What checks and diagrams of the infrastructure need of Python, in .local/infra-venv
	@python3 local/tools.py infra

$(NODE_MODULES): tests/oidc-provider/package-lock.json
	@command -v npm >/dev/null || { echo "error: npm is missing: install Node.js 20 or newer" >&2; exit 1; }
	@cd tests/oidc-provider && npm ci --no-audit --no-fund --silent && touch node_modules

clean: ## Remove everything that was built, and the local run's tools and state
	@rm -rf target fuzz/target fuzz/corpus .local $(NODE_MODULES)
