#!/usr/bin/env bash
# Compares Assent, as `make release` builds it, with one Postgres alone, on systems of its own. Arguments go to `assent bench
# compare`; without --baskets the real orders are those of the demo.
# Settings: ASSENT_BENCH_PORT (first port, default 7470).
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/system.sh

data=$(data_dir bench-data)
[[ " $* " == *" --baskets"[\ =]* ]] || set -- --baskets demo/orders.csv "$@"

scripts/release.sh
"${CARGO_TARGET_DIR:-target}/programs/assent" bench compare --data-dir "$data" --port-base "${ASSENT_BENCH_PORT:-7470}" "$@"
rm -rf "$data"
