#!/usr/bin/env bash
# Runs the fuzz targets one after another, FUZZ_SECONDS each, all of them or those named, and prints how many inputs
# each ran. What they find is in fuzz/artifacts; what they learnt is in fuzz/corpus, where the next run goes on.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.13.2
tools=$PWD/target/fuzz-tools-$version
logs=$PWD/target/fuzz
export PATH=$tools/bin:$PATH

[[ -x $tools/bin/cargo-fuzz ]] || {
    echo "installing into $tools: cargo-fuzz $version"
    cargo install --quiet --locked --root "$tools" --version "$version" cargo-fuzz
}
mkdir -p "$logs"
cargo run --quiet --locked -p proto --example fuzz_seeds -- fuzz/corpus
# No sanitizer: it needs a nightly toolchain, and there is no unsafe code here that it could catch.
cargo fuzz build -s none

(($# > 0)) || mapfile -t targets < <(cargo fuzz list)
(($# == 0)) || targets=("$@")

stat_of() { sed -n "s/^stat::$1: *//p" "$2"; }
row() { printf '%-20s %14s %8s %8s\n' "$@"; }
failed=()
row TARGET INPUTS SECONDS CORPUS
for target in "${targets[@]}"; do
    log=$logs/$target.log
    start=$SECONDS
    cargo fuzz run -s none "$target" -- -max_total_time="${FUZZ_SECONDS:-30}" -timeout=20 -print_final_stats=1 \
        >"$log" 2>&1 </dev/null || failed+=("$target")
    corpus=$(find "fuzz/corpus/$target" -type f | wc -l)
    row "$target" "$(stat_of number_of_executed_units "$log")" $((SECONDS - start)) "$corpus"
done

for target in "${failed[@]}"; do
    printf '\n%s failed; the whole log is %s\n' "$target" "$logs/$target.log"
    grep -E -A2 'panicked at|ERROR: libFuzzer|^Reproduce with' "$logs/$target.log" | grep -v '^--$' || tail "$logs/$target.log"
done
((${#failed[@]} == 0))
