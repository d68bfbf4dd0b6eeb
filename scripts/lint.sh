#!/usr/bin/env bash
# Runs every linter; `make lint` sets them up first.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=target/lint-tools/bin
step() { printf '== %s\n' "$*"; "$@"; }

cargo fmt --version >/dev/null 2>&1 || { echo "lint: add it with: rustup component add rustfmt" >&2; exit 1; }
cargo clippy --version >/dev/null 2>&1 || { echo "lint: add it with: rustup component add clippy" >&2; exit 1; }
step cargo fmt --all --check
step cargo fmt --manifest-path fuzz/Cargo.toml --check
step shellcheck scripts/*.sh .ci/run examples/*/*.sh
step "$tools/buf" lint proto
# Packages in two versions are no error; `target/lint-tools/bin/cargo-deny check bans` lists them.
step "$tools/cargo-deny" --log-level error check --hide-inclusion-graph bans licenses sources
# The advisories' database comes from outside the package registries: no reason to fail where it cannot be had.
if timeout 120 "$tools/cargo-deny" --log-level off fetch db; then
    step "$tools/cargo-deny" check advisories
else
    echo "== advisories not checked: their database cannot be fetched from here"
fi
step cargo clippy --workspace --all-targets --locked -- -D warnings
