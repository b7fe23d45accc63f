# What a newcomer types. Everything else is plain cargo.

.PHONY: test lint tools

# All tests of the house. Installs the few programs of the distribution that tests compare with, if they are missing.
test: tools
	@if cargo nextest --version >/dev/null 2>&1; then \
		cargo nextest run --workspace --no-fail-fast; \
	else \
		cargo test --workspace --no-fail-fast; \
	fi

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

tools:
	@examples/install-test-tools
