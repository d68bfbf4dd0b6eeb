#!/usr/bin/env bash
# A shop's day of orders, one service killed with -9 in the middle of it, and the proof that every order stayed whole.
# `make demo` builds first. Settings: ASSENT_DEMO_PORT (first port, default 7450). `--clean` removes the data that a demo left to look at.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/system.sh

bin=${CARGO_TARGET_DIR:-target}/debug
assent=$bin/assent
sample=demo/orders.csv
port=${ASSENT_DEMO_PORT:-7450}
data=$(data_dir demo)
out=$data-output # beside the data, which `assent dev` keeps to itself
how=(--stock-factor 0.9 --balance 1500.00 --concurrency 4)
patience_s=60

if [[ ${1:-} == --clean ]]; then
    rm -rf "$data" "$out"
    exit
fi

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then bold=$'\e[1m' plain=$'\e[0m'; else bold='' plain=''; fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
fail() {
    printf '\nThe demo failed: %s\nLook at %s and %s/logs.\n' "$*" "$out" "$data" >&2
    exit 1
}
now_ms() { local now=${EPOCHREALTIME/[.,]/}; echo $((now / 1000)); }
seconds() { printf '%d.%01d s' $(($1 / 1000)) $(($1 % 1000 / 100)); }

# The value of a field in pretty-printed JSON, its first or of the object of that name.
field() { sed -nE "s/^ *\"$1\": \"?([^\",]*)\"?,?\$/\1/p" | head -n 1; }
count_in() { sed -n "/\"$1\": {/,/}/p" | field "$2"; }
# The system, looked at through the CLI.
process() { "$assent" dev ps --data-dir "$data" --output json | sed -n "/\"name\": \"$1\"/,/}/p"; }
transactions() { "$assent" tx ls --output json "$@" | sed -nE 's/^ *"transaction_id": "(.*)",$/\1/p'; }

# await COMPLAINT CONDITION: until it is met, or the patience since the kill is at its end.
since_kill_ms() { echo $(($(now_ms) - killed_ms)); }
await() {
    until "$2"; do (($(since_kill_ms) < patience_s * 1000)) || fail "$1, $patience_s s after the kill"; done
}
payment_is_back() {
    local payment
    payment=$(process payment-svc)
    [[ $(field state <<<"$payment") == ready && $(field pid <<<"$payment") != "$victim" ]]
}
all_closed() {
    local id page still=()
    for id in "${open[@]}"; do
        page=$("$assent" tx show "$id" --output json) || page='"state": "unreachable"'
        if grep -qE '"state": "(staging|prepared|unreachable)"' <<<"$page"; then still+=("$id"); fi
    done
    open=("${still[@]}")
    ((${#open[@]} == 0)) || { hit=${open[0]} && return 1; }
}
nothing_stuck() {
    local stuck
    stuck=$("$assent" tx ls --stuck --output json) && [[ $stuck != *transaction_id* ]]
}

say "Starting four Postgres clusters and four services"
mkdir -p "$out"
start_system "$assent" "$data" "$port" "$out/system.log" || fail "the system did not come up"

invoices=$(cut -d, -f1 "$sample" | sort -u | grep -c '^[0-9]')
say "Placing the orders of $sample, with stock for nine tenths of what they ask for"
"$assent" replay "$sample" "${how[@]}" >"$out/replay.txt" &
replay_pid=$!
until placed=$(transactions --limit 1000 | wc -l) && ((placed >= invoices / 2)); do
    kill -0 "$replay_pid" 2>/dev/null || fail "the replay was over before its middle"
done
victim=$(process payment-svc | field pid)
kill -9 "$victim"
killed_ms=$(now_ms)
say "After $placed orders: kill -9 $victim, and payment-svc is dead"
mapfile -t open < <(transactions --limit 16)
hit=${open[0]}

await "payment-svc did not come back" payment_is_back
back_ms=$(since_kill_ms)
say "After $(seconds "$back_ms"): payment-svc is back, started again as process $(process payment-svc | field pid)"
await "a transaction from around the kill is still open" all_closed
closed_ms=$(since_kill_ms)
say "After $(seconds "$closed_ms"): the transactions from around the kill are final at every service"
wait "$replay_pid" || fail "the replay did not place every order"
await "a transaction is stuck" nothing_stuck
cat "$out/replay.txt"

say "The same file again, as a shop would that does not know how far it came"
"$assent" replay "$sample" "${how[@]}" --output json >"$out/again.json" || fail "the second replay did not end well"
confirmed=$(count_in confirmed total <"$out/again.json") before=$(count_in confirmed before <"$out/again.json")
refused=$(count_in refused total <"$out/again.json") orders=$(field orders <"$out/again.json")
((confirmed > 0 && confirmed == before)) || fail "$((confirmed - before)) orders were confirmed that were not before"
((confirmed + refused == orders)) || fail "of $orders orders, $confirmed are confirmed and $refused refused"
echo "All $confirmed confirmed orders stand as they did, and not one was placed again."

say "The doctor, on every invariant across the four databases"
"$assent" doctor || fail "an invariant does not hold"

say "Stopping"
stop_system || fail "the system did not stop in good order"

cat <<END

${bold}What happened${plain}
  $orders orders went through a coordinator and three services, each with a Postgres of its own.
  $confirmed are confirmed, $refused refused for want of stock or money; every one of them whole, none placed twice.
  payment-svc was killed after $placed of them. It was back after $(seconds "$back_ms"); after $(seconds "$closed_ms") nothing was open any more.

${bold}Try next${plain}, the first in one terminal and the rest in another:
  $assent dev --data-dir $data
  $assent tx show $hit
  $assent account get customer-40010
  $assent order place --account customer-40010 --line TEA-MINT-100:1@4.20
  $assent order ls
  $assent doctor
The first is the demo's system, the second an order that the kill hit. \`make clean-demo\` removes their data.
END
