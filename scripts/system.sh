# shellcheck shell=bash
# Sourced: a whole system of the script's own, which ends with the script however that ends.

system_pid=

# start_system ASSENT DATA_DIR PORT_BASE LOG: anew; returns when all is healthy, and points `assent` at it.
start_system() {
    local assent=$1 data_dir=$2 port_base=$3 log=$4
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap end_system EXIT
    # In a session of its own, so that the terminal's Ctrl-C reaches this script alone.
    setsid "$assent" dev --data-dir "$data_dir" --port-base "$port_base" --fresh >"$log" 2>&1 &
    system_pid=$!
    until grep -q '^ready:' "$log"; do
        if ! kill -0 "$system_pid" 2>/dev/null; then
            cat "$log" >&2
            return 1
        fi
        sleep 0.1
    done
    export ASSENT_COORDINATOR=http://127.0.0.1:$port_base
    export ASSENT_INVENTORY=http://127.0.0.1:$((port_base + 1))
    export ASSENT_ORDER=http://127.0.0.1:$((port_base + 2))
    export ASSENT_PAYMENT=http://127.0.0.1:$((port_base + 3))
}

stop_system() {
    kill -TERM "$system_pid" 2>/dev/null || true
    wait "$system_pid"
    system_pid=
}

end_system() {
    local status=$?
    trap '' HUP INT TERM
    # shellcheck disable=SC2046 # one word a process
    kill $(jobs -p) 2>/dev/null || true
    wait
    exit "$status"
}

# data_dir NAME: a folder for data under target/, or where the user who runs Postgres for root can enter.
data_dir() {
    local folder=target/$1
    mkdir -p target
    if [[ $(id -u) == 0 ]] && ! setpriv --reuid postgres --regid postgres --clear-groups test -x "$PWD/target/"; then
        folder=/var/tmp/assent-$1
    fi
    echo "$folder"
}
