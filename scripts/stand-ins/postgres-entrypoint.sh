#!/usr/bin/env bash
# Makes the cluster and its database on the first start, then becomes Postgres. Understands these of the official image's
# variables: POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB, POSTGRES_INITDB_ARGS, PGDATA.
set -euo pipefail

if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA"
    chown -R postgres:postgres "$PGDATA"
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    : "${POSTGRES_PASSWORD:?must be set before the first start}"
    user=${POSTGRES_USER:-postgres}
    database=${POSTGRES_DB:-$user}
    # Made in a folder of its own, PG_VERSION coming out last: a kill in between leaves what the next start makes anew.
    new=$PGDATA/new
    find "$PGDATA" -mindepth 1 -delete
    mkdir -m 0700 "$new"
    # Word splitting is meant: it is a list of arguments.
    # shellcheck disable=SC2086
    initdb -D "$new" --username="$user" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") ${POSTGRES_INITDB_ARGS:-}
    if [ "$database" != postgres ]; then
        printf 'CREATE DATABASE "%s"\n' "$database" | postgres --single -D "$new" postgres
    fi
    echo "host all all all scram-sha-256" >> "$new/pg_hba.conf"
    echo "listen_addresses = '*'" >> "$new/postgresql.conf"
    chmod 0700 "$PGDATA"
    mv "$new/PG_VERSION" "$PGDATA/PG_VERSION.new"
    mv "$new"/* "$PGDATA/"
    rmdir "$new"
    mv "$PGDATA/PG_VERSION.new" "$PGDATA/PG_VERSION"
fi
exec "$@"
