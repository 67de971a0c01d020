#!/usr/bin/env bash
# The data-plane race, one command: builds Arriero and bare Pingora alike (profile race), installs what is missing, races,
# prints the tables and writes benches/results/race.{md,json,csv}. All arguments go to `race run`; `--quick` looks only and
# writes nothing. ARRIERO_BIN: race this binary instead of building one. RACE_INSTALL=off: race what is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

target=$(cargo metadata --format-version 1 --no-deps --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
# One build for both, so that they share every crate with the same features.
cargo build --locked --profile race -p arriero -p arriero-race
arriero=${ARRIERO_BIN:-$target/race/arriero}
[ "${RACE_INSTALL:-on}" = off ] || benches/race/install.sh "$target/race-routers"

results=(--results benches/results)
for argument in "$@"; do
    case $argument in --quick | --results*) results=() ;; esac
done
ulimit -n 20000 2>/dev/null || ulimit -n "$(ulimit -Hn)"
exec "$target/race/race" run --arriero "$arriero" --routers "$target/race-routers" --folder "$target/race-run" \
    "${results[@]}" "$@"
