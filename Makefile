# The front door. Everything behind it is the program `lab` in e2e/.

RUST := 1.95
LAB := cargo run --locked -p e2e --bin lab --

.PHONY: demo demo-down test bench bench-pods bench-agent bench-controller image kind clean

demo: rust
	@$(LAB) demo $(if $(KEEP),--keep) $(if $(MODE),--mode=$(MODE))

demo-down: rust
	@$(LAB) down

test: rust
	@$(LAB) test

# A test takes programs that are made quickly; what is measured is what is released.
bench bench-pods bench-agent bench-controller: export PROFILE = release

bench: rust
	@$(LAB) bench

bench-pods: rust
	@$(LAB) bench-pods

bench-agent: rust
	@$(LAB) bench-agent $(if $(SIZES),--sizes=$(SIZES)) $(if $(ALONE),--alone) $(if $(REPAIRS),--repairs)

bench-controller: rust
	@cargo run --release --locked -p e2e --bin lab -- bench-controller

image: rust
	@e2e/kind/image.sh

kind: rust
	@KEEP=$(KEEP) e2e/kind/run.sh

clean: rust
	@$(LAB) down
	@cargo clean

# Cargo itself, and a linker for it, are all that `lab` can't ask for.
.PHONY: rust
rust:
	@if ! command -v cargo >/dev/null; then \
		echo "Rust is missing; this installs it:"; \
		echo "    apt-get install -y curl && curl -fsSL https://sh.rustup.rs | sh -s -- -y && . ~/.cargo/env"; \
		exit 1; \
	fi
	@have=$$(rustc --version | cut -d' ' -f2); \
	if [ "$$(printf '%s\n' $(RUST) "$$have" | sort -V | head -1)" != $(RUST) ]; then \
		echo "Rust $$have is too old, $(RUST) is wanted; this mends it:"; \
		echo "    rustup update stable"; \
		exit 1; \
	fi
	@if ! command -v cc >/dev/null; then \
		echo "installing gcc, which Rust links with"; \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends gcc libc6-dev; \
	fi
