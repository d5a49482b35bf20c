# `make run` and `make test` are all that a newcomer needs. Both install what is missing on a Debian that has Rust.

export CARGO_TARGET_DIR ?= /var/tmp/picloud-target

# What is being done, one line a step.
say = @echo '--- $(1)' >&2

# What `make check` runs of the tests: those that hold the shape of the code and of the API.
SHAPE_TESTS = binary(layering) + test(openapi)

.PHONY: help run test check bench soak
.DEFAULT_GOAL := help

help:
	@echo 'make run    build PiCloud and start it on http://127.0.0.1:8080, data in ./picloud-data'
	@echo 'make test   every test, on SQLite and on a throw-away PostgreSQL'
	@echo 'make check  formatting, lints, documentation, layering, dependencies: what CI asks for before the tests'
	@echo 'make soak   hostile scripts beside good ones for ten minutes'
	@echo 'make bench  PiCloud against bare Pingora and bare hyper (deploy/loadtest/README.md)'

run:
	@.ci/ensure cargo cc cmake
	$(call say,building the release binary into $(CARGO_TARGET_DIR): some minutes at first)
	cargo build --locked --release --package picloud-proxy --bin picloud
	$(call say,starting; Ctrl-C ends it)
	@exec $(CARGO_TARGET_DIR)/release/picloud serve --dev

test:
	@.ci/ensure cargo cc cmake cargo-nextest $(if $(TEST_PG_URL),psql,postgresql)
	$(call say,examples in the documentation)
	cargo test --locked --workspace --doc
	$(call say,all tests on SQLite and on $(if $(TEST_PG_URL),the PostgreSQL of TEST_PG_URL,a throw-away PostgreSQL))
	.ci/with-postgres cargo nextest run --locked --workspace

check:
	@.ci/ensure cargo cc cmake cargo-nextest cargo-deny
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps
	cargo deny --locked check bans licenses sources
	cargo nextest run --locked --workspace -E '$(SHAPE_TESTS)'

# Hostile scripts beside good ones for SOAK_SECONDS (600): no good one may fail, and memory must end where it was once warm.
soak:
	@.ci/ensure cargo cc cmake
	cargo run --locked --release --package picloud-executor --example soak

bench:
	@.ci/ensure cargo cc cmake openssl python3 taskset wrk h2load
	cargo build --locked --release --package picloud-proxy --bin picloud --example bare_pingora --example bare_hyper
	deploy/loadtest/run
