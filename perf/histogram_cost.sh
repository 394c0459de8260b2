#!/usr/bin/env bash
# What stage timings and histograms cost: two builds, with and without them, measured in turn.
#
#   perf/histogram_cost.sh [ROUNDS] [-- further options of `uringmq bench`]
#
# Prints the rate of each round and the median ratio (with / without). The goal is >= 0.99.
# Needs only cargo, and python3 to read the reports.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${1:-5}
shift || true
[ "${1:-}" = "--" ] && shift
target=${CARGO_TARGET_DIR:-target}
bins=$target/histogram_cost
mkdir -p "$bins"
results=$(mktemp -d "$bins/run.XXXXXX")
trap 'rm -rf "$results"' EXIT

cargo build --release --quiet
cp "$target/release/uringmq" "$bins/with"
cargo build --release --quiet --no-default-features
cp "$target/release/uringmq" "$bins/without"
cargo build --release --quiet

measure() { # NAME ROUND
    "$bins/$1" bench --json --modes memory,durable --producers 256 --rounds 1 --duration 2 \
        --wait poll --out "$results/out" --data-dir "$results" "${@:3}" \
        >"$results/$1.$2.json"
}

for ((round = 1; round <= rounds; round++)); do
    order="with without"
    ((round % 2 == 0)) && order="without with"
    for name in $order; do
        echo "round $round of $rounds: $name" >&2
        measure "$name" "$round" "$@"
    done
done

python3 - "$results" "$rounds" <<'PY'
import json, statistics, sys
results, rounds = sys.argv[1], int(sys.argv[2])
def rates(name, number):
    with open(f"{results}/{name}.{number}.json") as report:
        return {run["ack"]: run["messages_per_s"] for run in json.load(report)["runs"]}
ratios = {}
for number in range(1, rounds + 1):
    on, off = rates("with", number), rates("without", number)
    for ack in on:
        ratios.setdefault(ack, []).append(on[ack] / off[ack])
        print(f"round {number} {ack:8} with {on[ack]:10.0f}/s  without {off[ack]:10.0f}/s"
              f"  ratio {on[ack] / off[ack]:.3f}")
for ack, all in ratios.items():
    print(f"{ack:8} median ratio {statistics.median(all):.3f} "
          f"({min(all):.3f} - {max(all):.3f}); goal >= 0.99")
PY
