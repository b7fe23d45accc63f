# What a newcomer types. Everything else is plain cargo.

.PHONY: test test-api goldens lint fleet fleet-distributed agent-static tools bench-files bench-tables bench-fleet bench-tools

# All tests of the house. Installs the few programs of the distribution that tests compare with, if they are missing.
test: tools
	@if cargo nextest --version >/dev/null 2>&1; then \
		cargo nextest run --workspace --no-fail-fast; \
	else \
		cargo test --workspace --no-fail-fast; \
	fi

# The server's HTTP interface beside its own description (`/v1/openapi.json`), which `make test` does too; EXAMPLES=2000 cases an
# operation instead of 200.
EXAMPLES ?= 200
test-api: tools
	@cargo build --workspace --quiet
	CANVASS_EXAMPLES=$(EXAMPLES) cargo test --workspace --test whole interface::

# Actions with their answers for ever, one set a release (planner/tests/goldens/README.md).
goldens:
	@cargo build --workspace --quiet
	cargo test --workspace --test whole -- --ignored goldens::make_goldens

# A server, a dozen agents over the fixture hosts, and the prompt connected to it; ARGS="-c 'SELECT …'" asks and leaves.
fleet:
	@cargo build --workspace --quiet
	@"$$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/debug/play" $(ARGS)

# The same over a private PostgreSQL and a private RabbitMQ, which end with it.
fleet-distributed: tools
	@cargo build --workspace --quiet
	@"$$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/debug/play" --distributed $(ARGS)

# The agent as one static program, which runs on any Linux of this machine's kind.
agent-static:
	RUSTFLAGS="-C target-feature=+crt-static" cargo rustc --locked --profile static -p canvass-agent --bin canvass-agent \
		--target "$$(rustc -vV | sed -n 's/^host: //p')" -- -C link-arg=-Wl,-z,pack-relative-relocs

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

tools:
	@examples/install-tools test

# How fast the files table is, beside the best tools in the same run (docs/performance.md). Variables: RUNS=7 of each side;
# FILES=200000 of the generated tree; TREE=/tmp, where it is made; ONLY=P1,P3; CANVASS=another program than the one built;
# PROFILE=dev for a quick look.
PROFILE ?= release
bench-files: bench-tools
	cargo build --workspace --profile $(PROFILE)
	@"$$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/$(PROFILE:dev=debug)/bench-files"

# How fast other tables are beside ss, dpkg-query, ps, lsof and dd, and what memory their scans take. Variables: RUNS, CANVASS, PROFILE.
bench-tables:
	@$(MAKE) --no-print-directory bench-files ONLY=TABLES

# How fast a fleet answers, beside a bare echo in the same run (docs/performance.md). Variables: AGENTS=1000 for one size, or
# several; ENGINE=rabbitmq or embedded; BROKER=management for one that is not set up for many agents; SERIES=4 for RabbitMQ 4;
# ONLY=statements,heartbeats,investigators; RUNS=5 of each side in ROUNDS=2; PROFILE=dev.
bench-fleet: tools
	cargo build --workspace --profile $(PROFILE)
	@env -u RUST_BACKTRACE "$$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/$(PROFILE:dev=debug)/bench-fleet"

bench-tools:
	@examples/install-tools bench
