# plaintap: what people run. Each target is a line or two; `make help` lists them.
export PATH := $(HOME)/.cargo/bin:$(PATH)
.DEFAULT_GOAL := help

demo: ## live, in network namespaces: real clients, nginx, a mirror, keys as an F5 sends them (not root: from a capture)
	@deploy/setup.sh demo
	cargo build --release --locked --package plaintap --features live
	@deploy/lab.sh

build: ## the program with live capture: target/release/plaintap
	@deploy/setup.sh live
	cargo build --release --locked --package plaintap --features live

test: ## every test, also those against other people's programs (as root: live captures too)
	@deploy/setup.sh
	cargo test --workspace --all-features --locked

lint: ## formatting, and every compiler and clippy warning as an error
	@deploy/setup.sh live
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --all-features --locked -- --deny warnings

bench: ## measures throughput on captures that it makes itself, and (as root) of live capture over veth
	@deploy/setup.sh live
	cargo build --release --locked --package plaintap --package plaintap-bench --features live
	for what in bulk small memory keylog live; do target/release/plaintap-bench $$what || exit 1; done

ebpf: ## builds the XDP program anew; installs a toolchain of its own for it (Debian 12; elsewhere see xdp-ebpf/build.sh)
	xdp-ebpf/build.sh --setup
	xdp-ebpf/build.sh

kernels: ## boots other kernels, 5.10 to the newest, and tests the XDP program and live capture there (VERSIONS="5.10 6.1"; an hour)
	xdp-ebpf/kernels.sh $(VERSIONS)

fuzz: ## every fuzz target for a minute (SECONDS_EACH=n); needs nightly Rust and cargo-fuzz
	@for target in $$(cd userspace && cargo +nightly fuzz list); do \
	    (cd userspace && cargo +nightly fuzz run $$target -- -max_total_time=$(or $(SECONDS_EACH),60)) || exit 1; \
	done

corpus: ## makes the captures of userspace/tests/corpus anew (root; they differ each time, the expectations with them)
	@deploy/setup.sh
	userspace/tests/tools/make_corpus.py --out userspace/tests/corpus

help:
	@sed -n 's/^\([a-z]*\): ## /make \1\t/p' Makefile

.PHONY: demo build test lint bench ebpf kernels fuzz corpus help
