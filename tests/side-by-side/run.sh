#!/usr/bin/env bash
# Side by side with HAProxy, one command: installs HAProxy (root on Debian) if it is missing, sends the same requests
# through it and through Arriero, prints what each did and compares. ARRIERO_BIN: this binary instead of a build. With
# --short fewer keys; with --results FILE the result is written (benches/results/side-by-side.md is made so).
# Exit code 1: a bound does not hold. 77: skipped, for want of HAProxy.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

find_haproxy() { command -v haproxy || { [ -x /usr/sbin/haproxy ] && echo /usr/sbin/haproxy; }; }

install_haproxy() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    # Nothing is to start by itself.
    local policy=/usr/sbin/policy-rc.d code=0
    if [ -e "$policy" ]; then policy=; else printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"; fi
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends haproxy; } \
        >/dev/null 2>&1 || code=1
    [ -z "$policy" ] || rm -f "$policy"
    return "$code"
}

if ! find_haproxy >/dev/null && ! install_haproxy; then
    echo "SKIPPED: haproxy is not there and cannot be installed (needs root on Debian, and the network)"
    exit 77
fi

cargo build --locked -p arriero-side-by-side
target=$(cargo metadata --format-version 1 --no-deps --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
if [ -z "${ARRIERO_BIN:-}" ]; then
    cargo build --locked --bin arriero
    ARRIERO_BIN=$target/debug/arriero
fi
exec "$target/debug/side-by-side" --arriero "$ARRIERO_BIN" --haproxy "$(find_haproxy)" "$@"
