#!/usr/bin/env bash
# Measures orders per second of a system of its own, built for release. Arguments go to `assent bench orders`.
# Settings: ASSENT_BENCH_PORT (first port, default 7470).
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/system.sh

assent=${CARGO_TARGET_DIR:-target}/release/assent
data=$(data_dir bench)

cargo build --release --locked -p cli -p coordinator -p inventory-svc -p order-svc -p payment-svc
start_system "$assent" "$data" "${ASSENT_BENCH_PORT:-7470}" "$data.log"
"$assent" bench orders --data-dir "$data" "$@"
stop_system
rm -rf "$data" "$data.log"
