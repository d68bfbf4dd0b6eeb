#!/usr/bin/env bash
# Makes stand-ins for the base images of Dockerfile and docker-compose.yml, under their very names, on a Debian machine
# that reaches Debian's packages but no registry of images. Needs root, docker and a Rust toolchain. An image that is
# there already is left as it is; --fresh makes them all anew.
set -euo pipefail
cd "$(dirname "$0")/.."

fresh=no
case "${1:-}" in
    "") ;;
    --fresh) fresh=yes ;;
    *) echo "usage: $0 [--fresh]" >&2; exit 2 ;;
esac

# The names are read from the files that use them.
debian=$(sed -n 's/^FROM \(debian:[^ ]*\).*/\1/p' Dockerfile | sort -u)
rust=$(sed -n 's/^FROM \(rust:[^ ]*\).*/\1/p' Dockerfile | sort -u)
postgres=$(sed -n 's/^ *image: \(postgres:.*\)/\1/p' docker-compose.yml | sort -u)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

missing() {
    if [ "$fresh" = no ] && docker image inspect "$1" > /dev/null 2>&1; then
        echo "$1 is there"
        return 1
    fi
    echo "making $1"
}

# Builds $1 from the folder $2, and shows what the builder says only if it fails.
build() {
    docker build "${@:3}" --build-arg "BASE=$debian" -t "$1" "$2" > "$work/build.log" 2>&1 ||
        { tail -40 "$work/build.log" >&2; exit 1; }
}

if missing "$debian"; then
    command -v debootstrap > /dev/null || { apt-get update -q && apt-get install -y -q debootstrap; } >&2
    suite=${debian#debian:}
    debootstrap --variant=minbase "${suite%-slim}" "$work/debian" > "$work/debootstrap.log" ||
        { tail -20 "$work/debootstrap.log" >&2; exit 1; }
    (cd "$work/debian" && rm -rf var/cache/apt/* var/lib/apt/lists/* usr/share/{doc,info,locale,man}/*)
    tar -C "$work/debian" -c . | docker import --change 'CMD ["bash"]' - "$debian"
fi

if missing "$rust"; then
    version=${rust#rust:}
    case "$(rustc --version)" in
        "rustc ${version%%-*}."*) ;;
        *) echo "$rust needs rustc ${version%%-*}, but here is $(rustc --version)" >&2; exit 1 ;;
    esac
    mkdir -p "$work/rust/toolchain"
    tar -C "$(rustc --print sysroot)" -c bin/cargo bin/rustc lib | tar -C "$work/rust/toolchain" -x
    # The machine may reach the registry of crates through a gateway with an authority of its own.
    cp "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$work/rust/ca-certificates.crt"
    cp scripts/stand-ins/rust.Dockerfile "$work/rust/Dockerfile"
    build "$rust" "$work/rust"
fi

if missing "$postgres"; then
    mkdir "$work/postgres"
    cp scripts/stand-ins/postgres-entrypoint.sh "$work/postgres/"
    cp scripts/stand-ins/postgres.Dockerfile "$work/postgres/Dockerfile"
    build "$postgres" "$work/postgres" --build-arg "MAJOR=${postgres#postgres:}"
fi

docker image ls --format '{{.Repository}}:{{.Tag}}  {{.Size}}' | grep -xE "($debian|$rust|$postgres)  .*"
