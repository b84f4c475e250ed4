# Everything a contributor runs. What a target needs it installs or builds, pinned, into EVERLEAF_CACHE.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export EVERLEAF_CACHE ?= $(HOME)/.cache/everleaf
export CARGO_TARGET_DIR ?= $(CURDIR)/target

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
IMAGE ?= localhost/everleaf:$(VERSION)

# What the demo and the tests install: they read these.
export EVERLEAF_BINARY := $(CARGO_TARGET_DIR)/x86_64-unknown-linux-gnu/release/everleaf
export EVERLEAF_IMAGE := $(CARGO_TARGET_DIR)/image/everleaf.tar

TOOLS := $(EVERLEAF_CACHE)/tools
CARGO_DENY := $(TOOLS)/cargo-deny-0.20.2/bin/cargo-deny
# The lab builds helm with the other programs of its node tier.
HELM = $(shell dir=$$(lab/build node 2>/dev/null | grep /helm-) && echo $$dir/helm)

include lab/lab.mk

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12
	@echo 'lab-up      start a cluster of plain processes: TIER=control (default) or TIER=node'
	@echo 'lab-down    stop it'

.PHONY: demo
demo: lab-deps image ## an issuer, a Certificate and an Ingress on a real cluster, watched; KEEP=1 leaves it up
	cargo run --locked --quiet --package demo

.PHONY: test
test: lab-deps $(CARGO_DENY) ## every check and every test; ends with their sum
	$(MAKE) lab-build TIER=node
	$(MAKE) lab-build TIER=vault
	$(MAKE) lab-build TIER=boulder
	HELM=$(HELM) CARGO_DENY=$(CARGO_DENY) .ci/test

.PHONY: lint
lint: $(CARGO_DENY) ## the checks alone: format, clippy, licences, duplicates
	CARGO_DENY=$(CARGO_DENY) .ci/test lint

# In a place of its own: cargo builds the operator with the benches, without the optimization that is measured.
BENCH = CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/bench cargo bench --locked

.PHONY: bench
bench: lab-deps image ## time, requests, CPU and memory of issuance, beside the floor of the same machine
	$(MAKE) lab-build TIER=node
	$(BENCH) --bench issuance --bench node

.PHONY: bench-memory
bench-memory: lab-deps build ## ten thousand certificates of CA issuers: memory, restart, cost of each; five thousand at once
	$(MAKE) lab-build TIER=control
	$(BENCH) --bench memory

.PHONY: crash
crash: lab-deps ## kill the operator around every write and CA call, and see that it ends well
	$(MAKE) lab-build TIER=control
	cargo test --locked --features crash-points --test faults -- --nocapture

.PHONY: fuzz
fuzz: ## each fuzz target for a minute, or for EVERLEAF_FUZZ_SECONDS
	fuzz/run

.PHONY: nightly
# For acme2certifier.
nightly: LAB_PACKAGES += python3-venv
nightly: lab-deps ## what takes too long for `make test`: 100,000 specs, ten minutes of hostile neighbours, other orders and CAs, fuzz
	PROPTEST_CASES=100000 cargo test --locked --profile fuzz --lib any_spec_is_asked_for -- --nocapture
	$(MAKE) lab-build TIER=control
	EVERLEAF_FIGHT_SECONDS=600 cargo test --locked --test contract hostile -- --nocapture
	$(MAKE) lab-build TIER=boulder
	EVERLEAF_SEED=$$(date +%s) cargo test --locked --test acme --test boulder matrix:: -- --nocapture
	$(MAKE) lab-build TIER=vault
	$(MAKE) lab-build TIER=step-ca
	$(MAKE) lab-build TIER=acme2certifier
	cargo test --locked --test acme servers:: -- --include-ignored --nocapture
	$(MAKE) fuzz

# The paths of the builder stay out of the binary: it is the same wherever it is built.
RELEASE_FLAGS := -C target-feature=+crt-static
# Half a megabyte of relocations in a twentieth of the space.
RELEASE_FLAGS += -C link-arg=-Wl,-z,pack-relative-relocs
# What is the same code under several names is there once.
RELEASE_FLAGS += -C link-arg=-Wl,--icf=all
RELEASE_FLAGS += --remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=/cargo
RELEASE_FLAGS += --remap-path-prefix=$(CURDIR)=/everleaf

.PHONY: build
build: ## the static release binary
	RUSTFLAGS='$(RELEASE_FLAGS)' cargo build --locked --release --target x86_64-unknown-linux-gnu --bin everleaf

.PHONY: image
image: build ## an OCI image of it, as a file: reproducible, no container engine needed
	image/build $(EVERLEAF_BINARY) $(IMAGE) $(EVERLEAF_IMAGE)

.PHONY: crds
crds: ## crds/ from src/api
	BLESS=1 cargo test --locked --quiet --test crds committed_files_are_what_the_code_makes

.PHONY: deploy
deploy: ## deploy/everleaf.yaml from charts/everleaf
	$(MAKE) lab-build TIER=node
	HELM=$(HELM) deploy/render >deploy/everleaf.yaml

.PHONY: clean
clean: lab-down ## stop the lab and remove what was built here; the cache stays
	cargo clean

$(CARGO_DENY):
	cargo install --locked --root $(TOOLS)/cargo-deny-0.20.2 --target-dir $(TOOLS)/build cargo-deny@0.20.2
	rm -rf $(TOOLS)/build
