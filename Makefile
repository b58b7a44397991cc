# The entries for people and for CI. Each installs the Debian packages that it needs and that are missing.

.PHONY: help demo deb test test-deb test-deploy test-vm bench bench-object bench-rocksdb soak check
.DEFAULT_GOAL := help

PYTHON_FILES := $(wildcard benches/*.py \
    $(foreach kind,compare instructions object placement rocksdb scaling,benches/$(kind)/*.py) \
    deploy/grafana/generate/*.py deploy/kubernetes/attach/*/*.py deploy/kubernetes/components/monitoring/generate \
    scripts/*.py $(foreach kind,deb deploy vm,tests/$(kind)/*.py) \
    $(foreach kind,libnbd monitoring operating status_page systemd,tests/it/$(kind)/*.py))
BENCHES := $(patsubst benches/%.rs,--bench %,$(wildcard benches/*.rs))
# For `make bench`: --quick for a look of minutes, or what else benches/README.md tells.
COMPARE ?=
# For `make bench-object`: --quick, or `--only journal flush`.
OBJECT ?=
# For `make bench-rocksdb`: --quick, or `--only flush space`.
ROCKSDB ?=

help: ## Tell what can be made
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile | expand -t 24

demo: ## Serve a 10 GiB disk in a local directory used as a bucket, until Ctrl-C (PORT=, METRICS_PORT=)
	@scripts/packages demo
	@scripts/demo

deb: ## Make the Debian package of a release build
	@scripts/packages deb
	cargo build --release -p nbdgate
	scripts/deb release

test: ## Run every test, real clients included
	@scripts/packages test
	cargo test --workspace --no-fail-fast
# Before the program is built without what these boot from, package and deploy.
	@scripts/packages test-vm
	python3 tests/vm
	@scripts/packages test-deb
	python3 tests/deb debug
	@scripts/packages test-deploy
	python3 -B tests/deploy
# A program without RocksDB; and one without the object log too, and how it refuses their disks.
	cargo test -p nbdgate --no-default-features --features object-log --lib
	cargo test -p nbdgate --no-default-features --test it starting::

test-deploy: ## Build the container image with buildah, and try what deploy/ ships
	@scripts/packages test-deploy
# The programs as the tests have them, so that nothing is compiled twice.
	cargo test --workspace --no-run
	python3 -B tests/deploy

test-vm: ## Boot virtual machines from disks behind the gateway, crash it under them (some 2 minutes after the build)
	@scripts/packages test-vm
	cargo build -p nbdgate -p nbdgate-s3-server --bins
	python3 tests/vm

test-deb: ## Package what was built for tests; install, upgrade and purge it in a clean root
	@scripts/packages test-deb
	cargo test --workspace --no-run
	python3 tests/deb debug

bench: ## Run the micro benchmarks, then nbdgate beside nbdkit, qemu-nbd and nbd-server (COMPARE=--quick)
	@scripts/packages bench
	cargo build --release -p nbdgate -p nbdgate-load -p nbdgate-limit
	cargo bench -p nbdgate $(BENCHES) -- --noplot --warm-up-time 0.5 --measurement-time 1
	python3 benches/instructions
	python3 benches/open.py --connections 1000
	python3 benches/compare $(COMPARE)
	python3 benches/scaling $(filter --quick,$(COMPARE))

bench-object: ## Measure the object log against the raw store and the raw file (OBJECT=--quick)
	@scripts/packages bench-object
	cargo build --release -p nbdgate -p nbdgate-load -p nbdgate-s3-server -p nbdgate-object-tool
	python3 benches/object $(OBJECT)

bench-rocksdb: ## Measure disks in RocksDB beside a file and beside memory (ROCKSDB=--quick)
	@scripts/packages bench-rocksdb
	cargo build --release -p nbdgate -p nbdgate-load
	python3 benches/rocksdb $(ROCKSDB)

soak: ## Check the ownership protocol in every state of three writers (minutes, a gigabyte of memory)
	@scripts/packages soak
	cargo run --release -p nbdgate-ownership-model

check: ## Check format, lints, documentation and scripts
	@scripts/packages check
	cargo fmt --all --check
	cargo fmt --manifest-path tests/fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy -p nbdgate --all-targets --no-default-features -- -D warnings
	cargo clippy -p nbdgate --all-targets --no-default-features --features object-log -- -D warnings
	RUSTDOCFLAGS='-D warnings -A rustdoc::private-intra-doc-links' cargo doc --workspace --no-deps --document-private-items
	PYTHONPYCACHEPREFIX="$${CARGO_TARGET_DIR:-target}/pycache" python3 -m py_compile $(PYTHON_FILES)
	bash -n scripts/packages scripts/deb scripts/demo scripts/radosgw .ci/run deploy/container/build
	for script in tests/vm/guest/*; do sh -n "$$script" || exit 1; done
