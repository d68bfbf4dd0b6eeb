#!/usr/bin/env bash
# Sets the participant up, starts it, and ends it: what a newcomer types, and what the kit and the tests call.
#   ./run.sh setup     a venv with its packages, and the stubs (in SEATS_HOME, by default target/python-participant)
#   ./run.sh start     starts it on SEATS_DATABASE_URL, at SEATS_LISTEN (127.0.0.1:7500); returns once it serves
#   ./run.sh restart   kill -9, and start
#   ./run.sh stop
#   ./run.sh books     what is held, and what is sold
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
home=${SEATS_HOME:-$root/target/python-participant}
run=${SEATS_RUN:-$home} # where a running one keeps its pid and its log
python=$home/venv/bin/python

setup() {
    mkdir -p "$home"
    # Again only when the packages or the protos have changed.
    local made
    made=$(cat "$here/requirements.txt" "$root"/proto/assent/transaction/v1/*.proto | cksum)
    [[ "$(cat "$home/made" 2>/dev/null)" != "$made" ]] || return 0
    rm -rf "$home/venv" "$home/stubs"
    python3 -m venv "$home/venv"
    "$python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    mkdir -p "$home/stubs"
    "$python" -m grpc_tools.protoc -I "$root/proto" --python_out="$home/stubs" --grpc_python_out="$home/stubs" \
        assent/transaction/v1/participant.proto assent/transaction/v1/coordinator.proto
    printf '%s\n' "$made" >"$home/made"
}

start() {
    mkdir -p "$run"
    local log=$run/log
    PYTHONPATH=$home/stubs setsid "$python" "$here/seats.py" >"$log" 2>&1 </dev/null &
    echo $! >"$run/pid"
    for _ in {1..600}; do
        ! grep -q '^serving' "$log" || return 0
        kill -0 "$(cat "$run/pid")" 2>/dev/null || break
        sleep 0.05
    done
    cat "$log" >&2
    return 1
}

stop() {
    [[ -e $run/pid ]] || return 0
    local pid
    pid=$(cat "$run/pid")
    kill -9 "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
    rm -f "$run/pid"
}

books() {
    local query='SELECT sum(held), sum(sold) FROM seat'
    if command -v psql >/dev/null; then
        psql -X -At -F ' ' -c "$query" "$SEATS_DATABASE_URL"
    else
        "$python" -c 'import sys, psycopg; print(*psycopg.connect(sys.argv[1]).execute(sys.argv[2]).fetchone())' \
            "$SEATS_DATABASE_URL" "$query"
    fi
}

case ${1:-} in
    setup | start | stop | books) "$1" ;;
    restart) stop && start ;;
    *) sed -n 's/^#   //p' "$0" >&2; exit 2 ;;
esac
