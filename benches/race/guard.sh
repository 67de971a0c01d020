#!/usr/bin/env bash
# Fails when a request through Arriero takes more instructions than the committed baseline allows (benches/race/guard.baseline:
# ratios to bare Pingora in the dev build). `guard.sh --update` writes a new baseline. Needs valgrind; where it is not and
# cannot be installed, says so and exits 77.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if ! command -v valgrind >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends valgrind; } >/dev/null 2>&1 || true
fi
command -v valgrind >/dev/null || { echo "SKIPPED: no valgrind"; exit 77; }

target=$(cargo metadata --format-version 1 --no-deps --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
cargo build --locked -p arriero -p arriero-race --config 'profile.dev.package.arriero.opt-level=1'
exec "$target/debug/race" guard --arriero "${ARRIERO_BIN:-$target/debug/arriero}" --bare "$target/debug/bare" \
    --baseline benches/race/guard.baseline --folder "$target/race-guard" "$@"
