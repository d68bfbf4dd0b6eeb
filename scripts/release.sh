#!/usr/bin/env bash
# Builds the programs that are run in earnest into target/programs: `assent`, the coordinator and the services, these by
# the profile that `make profile` recorded, if it did with this compiler.
# With --profile records one: builds the services with counters in them, has them place orders of all kinds, and keeps how
# often what was run. Settings: ASSENT_PROFILE_PORT (first port, default 7470), LLVM_PROFDATA (the compiler's llvm-profdata).
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/system.sh

die() { printf 'release: %s\n' "$*" >&2; exit 1; }

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
services=(coordinator inventory-svc order-svc payment-svc)
triple=$(rustc -vV | sed -n 's/^host: //p')
# A compiler reads no profile of a newer one.
profile=$target/profile/rustc-$(rustc -vV | sed -n 's/^release: //p')

# build_services RUSTFLAGS: into target/TRIPLE/release. A function's profile is found by a name that holds the packages
# that are built together and the settings of the profile `release`, so both builds are made here. With --target, what runs
# while building is not concerned.
build_services() { RUSTFLAGS="${RUSTFLAGS:-} $1" cargo build --release --locked --target "$triple" "${services[@]/#/-p=}"; }

# install_programs FROM TO: a program that runs is replaced, not written to.
install_programs() { mkdir -p "$2" && install --target-directory "$2" "${services[@]/#/$1/}" "$target/release/assent"; }

find_profdata() {
    local found=${LLVM_PROFDATA:-$(rustc --print sysroot)/lib/rustlib/$triple/bin/llvm-profdata}
    [[ -x $found ]] || ! command -v rustup >/dev/null || rustup component add llvm-tools >&2
    [[ -x $found ]] || die "no llvm-profdata here: install the toolchain's component llvm-tools, or name one of the compiler's LLVM in LLVM_PROFDATA"
    echo "$found"
}

# What is placed to see what runs: of few clients and many, of one SKU, baskets, sagas.
place_orders() {
    local orders=("$1" bench orders --data-dir "$2")
    "${orders[@]}" --clients 1 --seconds 25 &&
        "${orders[@]}" --clients 256 --seconds 15 &&
        "${orders[@]}" --clients 1024 --seconds 8 --workload hot &&
        "${orders[@]}" --clients 64 --seconds 8 --workload baskets --baskets demo/orders.csv &&
        "${orders[@]}" --clients 64 --seconds 8 --mode saga &&
        "${orders[@]}" --clients 1 --seconds 8 --mode saga
}

record_profile() {
    local profdata counters=$target/profile/counters programs=$target/profile/programs data
    profdata=$(find_profdata)
    data=$(data_dir profile-data)
    cargo build --release --locked -p cli
    RUSTC_WRAPPER=$PWD/scripts/rustc-for-profile.sh build_services "-Cprofile-generate=$counters"
    install_programs "$target/$triple/release" "$programs"
    rm -rf "$counters"
    export LLVM_PROFILE_FILE=$counters/%p.profraw # written by a program when it ends
    start_system "$programs/assent" "$data" "${ASSENT_PROFILE_PORT:-7470}" "$target/profile/system.log"
    echo "placing orders of all kinds, two minutes"
    place_orders "$programs/assent" "$data" >"$target/profile/orders.log" || die "orders could not be placed: see $target/profile"
    stop_system
    "$profdata" merge --sparse --output "$profile.new" "$counters"
    rm -rf "$data" "$counters" "$programs" "$profile"-*.profdata
    # Cargo builds again if the name changes, not if the content does.
    mv "$profile.new" "$profile-$(sha256sum "$profile.new" | cut -c 1-16).profdata"
    du -h "$profile"-*.profdata
}

build_programs() {
    local recorded=("$profile"-*.profdata) programs=$target/programs
    if [[ -e ${recorded[0]} ]]; then
        cargo build --release --locked -p cli
        build_services "-Cprofile-use=${recorded[0]}"
        install_programs "$target/$triple/release" "$programs"
        echo "built by the profile of orders: $programs"
    else
        cargo build --release --locked -p=cli "${services[@]/#/-p=}"
        install_programs "$target/release" "$programs"
        echo "built without a profile of orders (make profile): $programs"
    fi
}

case "${1:-}" in
    "") build_programs ;;
    --profile) record_profile ;;
    *) die "usage: $0 [--profile]" ;;
esac
