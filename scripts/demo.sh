#!/usr/bin/env bash
# A shop's day of orders, one service killed with -9 in the middle of it, and the proof that every order stayed whole.
# Settings: ASSENT_DEMO_PORT (first port, default 7450). `--clean` removes the data that a demo left to look at.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/system.sh

bin=${CARGO_TARGET_DIR:-target}/debug
assent=$bin/assent
sample=demo/orders.csv
port=${ASSENT_DEMO_PORT:-7450}
data=$(data_dir demo)
out=$(dirname "$data")/demo-output # beside the data, which `assent dev` keeps to itself
patience_s=60

if [[ ${1:-} == --clean ]]; then
    rm -rf "$data" "$out"
    exit
fi

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then bold=$'\r\e[K\e[1m' plain=$'\e[0m'; else bold='' plain=''; fi
say() { printf '%s%s%s\n' "$bold" "$*" "$plain"; }
fail() {
    printf '\nThe demo failed: %s\nLook at %s and %s/logs.\n' "$*" "$out" "$data" >&2
    exit 1
}
now_ms() { local now=${EPOCHREALTIME/[.,]/}; echo $((now / 1000)); }
seconds() { printf '%d.%01d s' $(($1 / 1000)) $(($1 % 1000 / 100)); }

# The value of a field in pretty-printed JSON, its first or of the object of that name.
field() { sed -nE "s/^ *\"$1\": \"?([^\",]*)\"?,?\$/\1/p" | head -n 1; }
count_in() { sed -n "/\"$1\": {/,/}/p" | field "$2"; }
process() { "$assent" dev ps --data-dir "$data" --output json | sed -n "/\"name\": \"$1\"/,/}/p"; }
transactions() { "$assent" tx ls --output json --limit 1000 "$@" | sed -nE 's/^ *"transaction_id": "(.*)",$/\1/p'; }

say "Building (the first time this takes some minutes)"
cargo build --locked -p cli -p coordinator -p inventory-svc -p order-svc -p payment-svc

say "Starting four Postgres clusters and four services"
mkdir -p "$out"
start_system "$assent" "$data" "$port" "$out/system.log" || fail "the system did not come up"

invoices=$(cut -d, -f1 "$sample" | sort -u | grep -c '^[0-9]')
say "Placing the orders of $sample: $invoices invoices, with stock for nine tenths of what they ask for"
"$assent" replay "$sample" --stock-factor 0.9 --balance 4000.00 --concurrency 4 >"$out/replay.txt" &
replay_pid=$!
until placed=$(transactions | wc -l) && ((placed >= invoices / 2)); do
    kill -0 "$replay_pid" 2>/dev/null || fail "the replay was over before its middle"
done
victim=$(process payment-svc | field pid)
kill -9 "$victim"
killed_ms=$(now_ms)
transactions --state staging | sort >"$out/under-way.txt"
say "After $placed orders: kill -9 $victim, that was payment-svc"

back_ms='' resolved_ms=''
until [[ $back_ms && $resolved_ms ]]; do
    (($(now_ms) - killed_ms < patience_s * 1000)) || fail "not all was resolved within $patience_s s of the kill"
    if [[ ! $back_ms ]]; then
        payment=$(process payment-svc)
        if [[ $(field state <<<"$payment") == ready && $(field pid <<<"$payment") != "$victim" ]]; then
            back_ms=$(($(now_ms) - killed_ms))
            say "After $(seconds "$back_ms"): payment-svc is back, started again as process $(field pid <<<"$payment")"
        fi
    fi
    transactions --state staging | sort >"$out/open.txt"
    if [[ -z $(comm -12 "$out/under-way.txt" "$out/open.txt") ]]; then resolved_ms=${resolved_ms:-$(($(now_ms) - killed_ms))}; fi
done
wait "$replay_pid" || fail "the replay did not place every order"
cat "$out/replay.txt"
