#!/usr/bin/env bash
# Installs what this machine lacks to build, run and test Assent, with --lint to lint it, and with --fuzz to fuzz it.
# Does nothing, and that quickly, when nothing is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

has() { command -v "$1" >/dev/null 2>&1; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# The places where `assent dev` looks.
has_postgres() {
    local folder
    for folder in "${ASSENT_PG_BIN:-}" ${PATH//:/ } /usr/lib/postgresql/*/bin; do
        [[ -x $folder/postgres && -x $folder/initdb ]] && return
    done
    return 1
}

# Root cannot run Postgres, the user of Debian's package can.
has_postgres_user() { [[ $(id -u) != 0 ]] || id postgres >/dev/null 2>&1; }

as_root() {
    if [[ $(id -u) == 0 ]]; then "$@"; elif has sudo; then sudo "$@"; else die "run it as root, or install sudo"; fi
}

# What it says is worth reading only if it fails.
apt_get() {
    local log=target/setup.log
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1 </dev/null || {
        cat "$log" >&2
        die "apt-get $* failed: see above"
    }
}
apt_install() { apt_get install --no-install-recommends "$@"; }

# Debian's package makes a cluster and starts it as a service when it is first installed. Assent has clusters of its
# own, so that is switched off meanwhile, and nothing of the setting stays.
install_postgres() {
    local conf=/etc/postgresql-common/createcluster.conf
    apt_install postgresql-common
    as_root sed -i.before-assent 's/^#\?create_main_cluster = .*/create_main_cluster = false/' "$conf"
    (apt_install postgresql) || local failed=true
    as_root mv "$conf.before-assent" "$conf"
    [[ -z ${failed:-} ]] || exit 1
}

# Debian's packages start servers of their own when they are installed. The tests start theirs, so they are kept from that.
install_servers() {
    local policy=/usr/sbin/policy-rc.d
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod +x "$policy"
        local made=true
    fi
    (apt_install "$@") || local failed=true
    [[ -z ${made:-} ]] || as_root rm "$policy"
    [[ -z ${failed:-} ]] || exit 1
}

has cargo || die "no cargo here: install the Rust toolchain (rustup), version $(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml) or later"

packages=() # other than Postgres
has cc || packages+=(gcc libc6-dev)
has make || packages+=(make) # the allocator is built with it
has pkill || packages+=(procps) # the tests stop whole clusters with it
# The tests of locks run a real Redis and a real ZooKeeper, those of the stock's feed a real NATS, and are skipped without.
servers=()
has redis-server || servers+=(redis-server)
has nats-server || [[ -x /usr/sbin/nats-server ]] || servers+=(nats-server)
[[ -e /usr/share/java/zookeeper.jar ]] || packages+=(zookeeper)
# The tests run a participant in Python, the linters a package of it.
has python3 && python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3 python3-venv)
if [[ ${1:-} == --lint ]]; then
    has shellcheck || packages+=(shellcheck)
fi
if [[ ${1:-} == --fuzz ]]; then has c++ || packages+=(g++); fi # libFuzzer is built from source
wants_postgres=false
{ has_postgres && has_postgres_user; } || wants_postgres=true

if ((${#packages[@]} > 0)) || $wants_postgres || ((${#servers[@]} > 0)); then
    wanted="${packages[*]}"
    ((${#servers[@]} == 0)) || wanted="${wanted:+$wanted }${servers[*]}"
    $wants_postgres && wanted="${wanted:+$wanted }postgresql"
    has apt-get || die "missing here: $wanted (Debian's names); install them with this system's packager"
    echo "installing: $wanted"
    mkdir -p target
    apt_get update
    ((${#packages[@]} == 0)) || apt_install "${packages[@]}"
    ! $wants_postgres || install_postgres
    ((${#servers[@]} == 0)) || install_servers "${servers[@]}"
fi

if [[ ${1:-} == --lint ]]; then scripts/lint-tools.sh; fi
