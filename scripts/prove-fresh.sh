#!/usr/bin/env bash
# Proves what the README promises of a fresh machine: makes a bare Debian 12 with a Rust toolchain and no Postgres, and
# runs `make demo` and `make test` there, on a clean clone of HEAD. Needs root; what it takes to reach the package
# registries is copied from this machine. Usage: scripts/prove-fresh.sh [TARGET ...]
set -euo pipefail
cd "$(dirname "$0")/.."

# Inside the namespaces: mounts, which end with them, and the change of root.
enter() {
    local root=$1 device
    shift
    mount --bind -o ro "$(rustc --print sysroot)" "$root/opt/rust"
    mount -t proc proc "$root/proc"
    mount -t sysfs -o ro sysfs "$root/sys"
    mount -t tmpfs dev "$root/dev"
    mkdir -m 1777 "$root/dev/shm"
    for device in null zero full random urandom; do
        touch "$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device"
    done
    ln -s /proc/self/fd "$root/dev/fd"
    mapfile -t passed < <(env | grep -iE '^((https?|no|all)_proxy|ASSENT_[A-Z_]+|TERM)=' || true)
    exec chroot "$root" env -i HOME=/root LANG=C.UTF-8 PATH=/opt/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        "${passed[@]}" bash /root/prove "$@"
}

# Runs in the new root, as process 1 of it.
prove() {
    local target begun process left
    cd /root/assent
    if ls /usr/lib/postgresql 2>/dev/null; then echo "there is a Postgres already"; exit 1; fi
    for target in "$@"; do
        begun=$SECONDS
        make "$target"
        echo "== make $target took $((SECONDS - begun)) s"
        if ls /etc/postgresql/*/* 2>/dev/null; then echo "the package made a cluster of its own"; exit 1; fi
        left=''
        for process in /proc/[0-9]*; do [[ $process == /proc/1 ]] || left+=" $(readlink "$process/exe")"; done
        [[ -z $left ]] || { echo "left running: $left"; exit 1; }
    done
    echo "== proved on a fresh machine: $*"
}

if [[ ${1:-} == --enter ]]; then
    shift
    enter "$@"
fi

[[ $(id -u) == 0 ]] || { echo "prove-fresh: it must be root, to change the root" >&2; exit 1; }
command -v debootstrap >/dev/null || apt-get -q -y install debootstrap
(($# > 0)) || set -- demo test

root=$(mktemp -d /var/tmp/assent-fresh.XXXXXX)
trap 'rm -rf --one-file-system "$root"' EXIT
trap 'exit 130' HUP INT TERM
chmod 755 "$root"

echo "== making a bare Debian 12 in $root"
# shellcheck disable=SC2016 # apt's own variable
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' 'Created-By: Packages' | head -n 1)
debootstrap --variant=minbase --include=make,ca-certificates bookworm "$root" ${mirror:+"$mirror"} >"$root.log" || {
    cat "$root.log" >&2
    exit 1
}
rm "$root.log"
rm "$root/etc/apt/sources.list"
for path in /etc/apt /usr/share/keyrings /etc/ssl/certs/ca-certificates.crt /etc/pip.conf /etc/resolv.conf /etc/hosts; do
    [[ ! -e $path ]] || cp -aL --parents "$path" "$root"
done
cargo_config=${CARGO_HOME:-$HOME/.cargo}/config.toml
[[ ! -e $cargo_config ]] || install -D "$cargo_config" "$root/root/.cargo/config.toml"
mkdir -p "$root/opt/rust"
git clone --quiet --no-hardlinks . "$root/root/assent"
git -C "$root/root/assent" log -1 --format='== on a clone of %h (%s)'
{
    echo 'set -euo pipefail'
    declare -f prove
    echo 'prove "$@"'
} >"$root/root/prove"

unshare --mount --pid --fork --kill-child "$0" --enter "$root" "$@"
