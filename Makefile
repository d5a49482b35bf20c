# `make run` and `make test` are all that a newcomer needs. Both install what is missing on a Debian that has Rust.

export CARGO_TARGET_DIR ?= /var/tmp/picloud-target

# What is being done, one line a step.
say = @echo '--- $(1)' >&2

# What `make check` runs of the tests: those that hold the shape of the code and of the API.
SHAPE_TESTS = binary(layering) + test(openapi)

.PHONY: help run test test-dashboard check dashboard bench soak fuzz fuzz-api fuzz-scripts tls-posture
.DEFAULT_GOAL := help

help:
	@echo 'make run    build PiCloud and start it on http://127.0.0.1:8080, data in ./picloud-data'
	@echo 'make dashboard       build the dashboard, if it has changed, into dashboard/build'
	@echo 'make test-dashboard  the tests of the dashboard alone'
	@echo 'make test   every test, on SQLite and on a throw-away PostgreSQL'
	@echo 'make check  formatting, lints, documentation, layering, dependencies: what CI asks for before the tests'
	@echo 'make soak   everything at once, for SOAK_SECONDS: what the process holds must not grow'
	@echo 'make fuzz   fuzz-api, then fuzz-scripts'
	@echo 'make fuzz-api        all that the API document allows, and more, asked of a running binary'
	@echo 'make fuzz-scripts    random input for executor, parsers and router, three minutes each'
	@echo 'make tls-posture   the TLS of a running binary against Mozilla'\''s "intermediate" configuration'
	@echo 'make bench  PiCloud beside bare Pingora and hyper, nginx and Caddy (docs/benchmarks.md)'

run: dashboard
	@.ci/ensure cargo cc cmake
	$(call say,building the release binary into $(CARGO_TARGET_DIR): some minutes at first)
	cargo build --locked --release --package picloud-proxy --bin picloud
	$(call say,starting; Ctrl-C ends it)
	@exec $(CARGO_TARGET_DIR)/release/picloud serve --dev

dashboard:
	@.ci/ensure node
	$(call say,the dashboard)
	@.ci/dashboard

test: dashboard
	@.ci/ensure cargo cc cmake cargo-nextest named openssl pebble faketime chromium curl ip jq python3 $(if $(TEST_PG_URL),psql,postgresql)
	$(call say,examples in the documentation)
	cargo test --locked --workspace --doc
	$(call say,commands in the documentation)
	cargo nextest run --locked --workspace --no-run
	.ci/with-postgres .ci/run-docs
	$(call say,the dashboard in a browser)
	cd dashboard && npx playwright test
	$(call say,all other tests on SQLite and on $(if $(TEST_PG_URL),the PostgreSQL of TEST_PG_URL,a throw-away PostgreSQL))
	.ci/with-postgres cargo nextest run --locked --workspace

# Without the rest: on the binary as `cargo build` makes it.
test-dashboard: dashboard
	@.ci/ensure cargo cc cmake chromium openssl pebble
	cargo build --locked --package picloud-proxy --bin picloud
	cd dashboard && npx playwright test

check: dashboard
	@.ci/ensure cargo cc cmake cargo-nextest cargo-deny openssl python3 shellcheck
	$(call say,the dashboard: types against docs/openapi.json and accessibility and formatting)
	cd dashboard && npm run check
	$(call say,what installs a release: against releases that somebody tampered with)
	shellcheck deploy/install.sh deploy/release deploy/try-install deploy/debian/build deploy/debian/try deploy/debian/postinst deploy/debian/prerm deploy/debian/postrm
	deploy/try-install
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --manifest-path executor/fuzz/Cargo.toml -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps
	cargo deny --locked check bans licenses sources
	cargo nextest run --locked --workspace -E '$(SHAPE_TESTS)'

# Hostile scripts beside good ones, then everything at once, for SOAK_SECONDS (600 and 1800): memory must end where it was once warm.
soak:
	@.ci/ensure cargo cc cmake openssl python3
	$(call say,hostile scripts beside good ones in the executor alone)
	cargo run --locked --release --package picloud-executor --example soak
	$(call say,everything at once against the release binary)
	cargo build --locked --release --package picloud-proxy --bin picloud
	deploy/loadtest/soak

fuzz: fuzz-api fuzz-scripts

# Schemathesis over the API document: no answer is a 5xx, and each is in the document. FUZZ_EXAMPLES (100) calls of each kind.
fuzz-api:
	@.ci/ensure cargo cc cmake python3 $(if $(shell command -v schemathesis),,python3-venv)
	cargo build --locked --package picloud-proxy --bin picloud
	.ci/fuzz-api

# libFuzzer, FUZZ_SECONDS (180) for each target of executor/fuzz; what it finds is left in executor/fuzz/artifacts.
fuzz-scripts:
	@.ci/ensure cargo cc
	.ci/fuzz-scripts

# sslyze over what a running binary speaks: Mozilla's "intermediate" configuration.
tls-posture:
	@.ci/ensure cargo cc cmake python3 python3-venv
	cargo build --locked --package picloud-proxy --bin picloud
	.ci/tls-posture

bench:
	@.ci/ensure cargo cc cmake openssl python3 taskset wrk h2load nginx nginx-lua caddy
	cargo build --locked --release --package picloud-proxy --package picloud-manager --bin picloud --example bare_pingora --example bare_hyper --example handshakes --example store_alone --example record_cost
	cargo build --locked --release --package picloud-executor --example engine_alone
	deploy/loadtest/run
