# The few commands that a person needs; everything else is `cargo xtask --help`.
SHELL := /bin/bash
env := . scripts/env.sh &&

.PHONY: build demo test clean

build: ## the release binary, target/release/blkecho, with the probe inside
	scripts/setup.sh build
	$(env) "$$CARGO" build --release --package blkecho

demo: ## two loop devices, a live workload, and a byte-for-byte comparison
	scripts/setup.sh build demo
	$(env) "$$CARGO" build --release --package blkecho
	target/release/blkecho demo

test: ## every suite; what cannot run here is named, and fails when CI=true
	scripts/setup.sh build demo test
	$(env) "$$CARGO" xtask test

clean:
	$(env) "$$CARGO" clean
	rm -rf ebpf/probe/target fuzz/target
