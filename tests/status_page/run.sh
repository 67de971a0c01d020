#!/usr/bin/env bash
# The status page in a headless Chromium: it shows what runs, follows a change, and executes no name from outside.
#
#   ARRIERO_BIN=target/debug/arriero tests/status_page/run.sh
#
# Starts two simulated engines and the binary with an admin listener, one without a token and one with. With ADMIN_URL set
# to an admin listener that already runs, that one is looked at instead, and what needs an own process is left out.
# Pictures are in ${ARRIERO_PAGE_CACHE:-target/status_page}.
#
# Exit codes: 0 all held; 77 skipped, with one line SKIPPED: why; else failed. Everything is on loopback. A Chromium
# is installed where that is possible (root on Debian), what drives it goes into a Python environment in the cache.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
cache=${ARRIERO_PAGE_CACHE:-$repo/target/status_page}
export ARRIERO_BIN=${ARRIERO_BIN:-$repo/target/debug/arriero}
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1

skip() { echo "SKIPPED: status page: $*"; exit 77; }

browser() {
    local name
    for name in chromium-headless-shell chromium chromium-browser google-chrome; do
        command -v "$name" && return
    done
    return 1
}

[ -n "${ADMIN_URL:-}" ] || [ -x "$ARRIERO_BIN" ] || { echo "run: no arriero binary at $ARRIERO_BIN: build it, or set ARRIERO_BIN" >&2; exit 2; }
mkdir -p "$cache"

if ! browser >/dev/null; then
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || skip "no Chromium is installed, and this is not root on Debian"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium-headless-shell; } \
        >"$cache/apt.log" 2>&1 || skip "apt-get cannot install a Chromium: $cache/apt.log"
fi
CHROMIUM=$(browser) || skip "the installed Chromium is not found"
export CHROMIUM

if ! cmp -s "$here/requirements.txt" "$cache/venv/installed.txt"; then
    { rm -rf "$cache/venv" && python3 -m venv "$cache/venv" && "$cache/venv/bin/pip" install -q -r "$here/requirements.txt"; } \
        >"$cache/pip.log" 2>&1 || skip "pip cannot install what drives the browser: $cache/pip.log"
    cp "$here/requirements.txt" "$cache/venv/installed.txt"
fi
echo "status page: $("$CHROMIUM" --version 2>/dev/null | head -n 1), ready after $SECONDS s"

timeout "${SECONDS_AT_MOST:-180}" "$cache/venv/bin/python" "$here/drive.py" "$cache"
echo "status page: all held, $SECONDS s"
