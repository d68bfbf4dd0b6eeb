#!/usr/bin/env bash
# Proves docker-compose.yml on a real engine: builds, starts, places an order, crashes containers in the middle of a load
# and sees all of it recovered, and the data kept over `down` and `up`. Everything is removed at the end. Needs root.
#
#   scripts/try-compose.sh [--stand-ins] [FILE.csv]
#
#   --stand-ins   make stand-ins for the base images first, where no registry of images is reached
#   FILE.csv      the orders of the load, in the Online Retail format (default: demo/orders.csv)
set -euo pipefail

file=demo/orders.csv
stand_ins=no
for argument in "$@"; do
    case "$argument" in
        --stand-ins) stand_ins=yes ;;
        -*) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
        *) file=$(realpath "$argument") ;;
    esac
done
cd "$(dirname "$0")/.."
[ -r "$file" ] || { echo "$file cannot be read" >&2; exit 2; }

# A project and ports of its own, beside a system that may be running.
export COMPOSE_PROJECT_NAME=assent-trial
base=${TRIAL_PORT_BASE:-18400}
export ASSENT_COORDINATOR_PORT=$base ASSENT_INVENTORY_PORT=$((base + 1))
export ASSENT_ORDER_PORT=$((base + 2)) ASSENT_PAYMENT_PORT=$((base + 3))
export ASSENT_COORDINATOR=http://127.0.0.1:$base ASSENT_INVENTORY=http://127.0.0.1:$((base + 1))
export ASSENT_ORDER=http://127.0.0.1:$((base + 2)) ASSENT_PAYMENT=http://127.0.0.1:$((base + 3))
services=(coordinator inventory-svc order-svc payment-svc coordinator-db inventory-db order-db payment-db)

if docker compose version > /dev/null 2>&1; then compose=(docker compose); else compose=(docker-compose); fi
compose() { "${compose[@]}" "$@" 2>> "$work/compose.log"; }
container() { docker ps -aq --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" \
    --filter "label=com.docker.compose.service=$1"; }
assent() { "$work/assent" "$@"; }

work=$(mktemp -d)
passed=no
finish() {
    touch "$work/stop"
    wait
    if [ "$passed" = no ]; then
        echo "FAILED; the last lines of the logs:" >&2
        tail -n 20 "$work"/*.log >&2 || true
        compose logs --tail 20 >&2 || true
    fi
    compose down --volumes --timeout 5 || true
    rm -rf "$work"
}
trap finish EXIT

begun=$(date +%s%3N)
since() { local ms=$(($(date +%s%3N) - $1)) && printf '%d.%d s' $((ms / 1000)) $((ms / 100 % 10)); }
say() { printf '[%8s] %s\n' "$(since "$begun")" "$*"; }

# Waits until "$@" succeeds, at most $1 seconds.
within() {
    local give_up=$(($(date +%s) + $1)) && shift
    until "$@"; do
        [ "$(date +%s)" -lt "$give_up" ] || { echo "in vain: $*" >&2; return 1; }
        sleep 0.2
    done
}
is_healthy() { [ "$(docker inspect -f '{{.State.Health.Status}}' "$(container "$1")")" = healthy ]; }
all_healthy() {
    for service in "${services[@]}"; do is_healthy "$service" || return 1; done
}
# Every service answers, and no transaction is stuck.
nothing_stuck() {
    assent --output json --timeout-ms 2000 tx ls --stuck > "$work/stuck.json" 2>> "$work/stuck.log" &&
        ! grep -q '"transaction_id"' "$work/stuck.json"
}
confirms_orders() {
    assent --timeout-ms 4000 order place --account alice --line 85123A:1@0.01 > "$work/order.log" 2>&1
}
# The number that $2 has in the JSON of file $1, at its first place.
number() { sed -n "s/^ *\"$2\": \([0-9]*\),\{0,1\}$/\1/p" "$1" | head -1; }

# Places the file's orders again and again, each time as another client, until it is told to stop.
load() {
    local run=0
    while [ ! -e "$work/stop" ]; do
        run=$((run + 1))
        # A run that begins while a service is down ends at once, without having placed anything.
        # Money for any number of runs, and twice the stock, since an attempt that is given up may hold its part for a
        # moment longer.
        assent --client-id "$1-$run" --output json replay --balance 1000000000.00 --stock-factor 2 "$file" \
            > "$work/run" 2>> "$work/load.log" || true
        if [ -s "$work/run" ]; then mv "$work/run" "$work/$1-$run.json"; fi
    done
}

# Starts a load, does "$@" in the middle of it, and sees the system recover. $1 names it.
amid_load() {
    local name=$1 && shift
    rm -f "$work/stop"
    load "$name" &
    local loader=$!
    within 120 test -e "$work/$name-1.json"
    local crashed
    crashed=$(date +%s%3N)
    "$@"
    within 60 confirms_orders
    say "  orders are confirmed again after $(since "$crashed")"
    within 30 nothing_stuck
    say "  nothing is stuck after $(since "$crashed")"
    within 60 all_healthy
    touch "$work/stop"
    wait "$loader"
    local orders=0 confirmed=0 refused=0 failed=0 unknown=0 repeated=0
    for summary in "$work/$name"-*.json; do
        orders=$((orders + $(number "$summary" orders)))
        confirmed=$((confirmed + $(sed -n '/"confirmed"/,/}/p' "$summary" | number /dev/stdin total)))
        refused=$((refused + $(sed -n '/"refused"/,/}/p' "$summary" | number /dev/stdin total)))
        failed=$((failed + $(number "$summary" failed)))
        unknown=$((unknown + $(number "$summary" unknown)))
        repeated=$((repeated + $(number "$summary" repeated_calls)))
    done
    say "  $orders orders: $confirmed confirmed, $refused refused, $failed failed, $unknown unknown;" \
        "$repeated calls repeated"
    if [ "$confirmed" != "$orders" ]; then
        echo "not every order is confirmed:" >&2
        sed -n 's/^ *"reason": //p' "$work/$name"-*.json | sort | uniq -c >&2
        return 1
    fi
    within 15 nothing_stuck
    assent doctor | tee "$work/doctor.log"
}

# The process dies at once, as of a crash: the restart policy starts it again.
crash() {
    say "$1: its process is killed"
    local before
    before=$(started "$1")
    kill -KILL "$(docker inspect -f '{{.State.Pid}}' "$(container "$1")")"
    within 30 is_another "$1" "$before"
}
started() { docker inspect -f '{{.State.StartedAt}}' "$(container "$1")"; }
is_another() { [ "$(started "$1")" != "$2" ]; }
# The container is killed and stays down for a while. Docker takes this for a wish, and does not start it again itself.
outage() {
    say "$1: the container is killed, and started again after $2 s"
    docker kill -s KILL "$(container "$1")" > "$work/kill.log"
    sleep "$2"
    compose start "$1" > "$work/start.log"
}

if [ "$stand_ins" = yes ]; then
    scripts/docker-stand-ins.sh
fi
say "building"
compose build coordinator > "$work/build.log"
say "starting"
compose up -d --build > "$work/up.log"
within 120 all_healthy
say "all eight containers are healthy; image: $(docker image ls assent --format '{{.Size}}')"
for service in "${services[@]}"; do
    who=$(docker exec "$(container "$service")" id)
    say "  $service: $who"
    case "$who" in *uid=0*) echo "$service runs as root" >&2; exit 1 ;; esac
done

copied=$(docker create assent)
docker cp "$copied:/usr/local/bin/assent" "$work/assent" > "$work/cp.log" 2>&1
docker rm "$copied" > "$work/rm.log"

assent stock set 85123A 100
assent account open alice --balance 100.00 --currency GBP
assent --output json order place --account alice --line 85123A:6@2.55 | tee "$work/placed.json"
order=$(sed -n 's/^ *"order_id": "\(.*\)",$/\1/p' "$work/placed.json")
grep -q '"state": "confirmed"' "$work/placed.json"

amid_load payment-crash crash payment-svc
amid_load payment-db-crash crash payment-db
amid_load coordinator-crash crash coordinator
amid_load payment-outage outage payment-svc 5
amid_load payment-db-outage outage payment-db 5

say "down, keeping the volumes, and up again"
assent --output json account get alice > "$work/account-before.json"
compose down > "$work/down.log"
compose up -d > "$work/up.log"
within 120 all_healthy
assent order get "$order"
assent --output json account get alice | diff "$work/account-before.json" -
assent doctor
passed=yes
say "all held"
