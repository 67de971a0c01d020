#!/usr/bin/env bash
# Attacks on a running Arriero with public tools, while an ordinary client must be served.
#
#   ARRIERO_BIN=target/debug/arriero tests/hostile/run.sh
#
# slowhttptest in its four modes (slow headers, slow body, ranges, slow reading): SECONDS_PER_MODE each, 200 connections;
# meanwhile one request every half second, each answered within 10 s (a bound against hanging, wide enough for a loaded
# machine and for a demo engine that loads its model first). Then smugglex: no finding. Resident memory stays below
# MEMORY_MIB throughout, and the same process is there at the end.
#
# Exit codes: 0 all held; 77 skipped, with one line SKIPPED: why; else failed. Everything is on loopback. slowhttptest is
# installed where that is possible (root on Debian), smugglex is built by cargo into ${ARRIERO_HOSTILE_CACHE:-target/hostile}.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
cache=${ARRIERO_HOSTILE_CACHE:-$repo/target/hostile}
bin=${ARRIERO_BIN:-$repo/target/debug/arriero}
seconds=${SECONDS_PER_MODE:-20}
memory_mib=${MEMORY_MIB:-256}
smugglex_version=0.4.0
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1

skip() { echo "SKIPPED: hostile: $*"; exit 77; }
fail() { echo "FAILED: $*" >&2; failed=1; }

[ -x "$bin" ] || { echo "run: no arriero binary at $bin: build it, or set ARRIERO_BIN" >&2; exit 2; }
mkdir -p "$cache/logs"

install_tools() {
    if ! command -v slowhttptest >/dev/null; then
        [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || skip "slowhttptest is not installed, and this is not root on Debian"
        { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends slowhttptest; } \
            >"$cache/logs/apt.log" 2>&1 || skip "apt-get cannot install slowhttptest: $cache/logs/apt.log"
    fi
    if [ ! -x "$cache/bin/smugglex" ]; then
        CARGO_TARGET_DIR=$cache/build cargo install smugglex --version "$smugglex_version" --locked --debug --root "$cache" \
            >"$cache/logs/cargo.log" 2>&1 || skip "cargo cannot install smugglex: $cache/logs/cargo.log"
    fi
    command -v curl >/dev/null || skip "curl is not installed"
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

proxy=
stop() { [ -z "$proxy" ] || kill "$proxy" 2>/dev/null || true; }
trap stop EXIT

install_tools
ulimit -n 4096 2>/dev/null || true
failed=0
port=$(free_port)
url=http://127.0.0.1:$port
"$bin" demo --listen "127.0.0.1:$port" >"$cache/logs/arriero.log" 2>&1 &
proxy=$!
for _ in $(seq 100); do
    curl -sf -m 2 "$url/health" >/dev/null && break
    sleep 0.1
done

chat='{"model":"qwen3:8b","max_tokens":2,"messages":[{"role":"user","content":"hi"}]}'

# One ordinary request; prints what was wrong with it.
ordinary() {
    local told status time
    told=$(curl -s -o /dev/null -m 10 -w '%{http_code} %{time_total}' "$url/v1/chat/completions" -d "$chat") || true
    read -r status time <<<"$told"
    [ "$status" = 200 ] || echo "status $status after $time s"
}

resident_mib() { awk '/^VmRSS:/ { print int($2 / 1024) }' "/proc/$proxy/status" 2>/dev/null || echo gone; }

# while_served NAME COMMAND...: runs the command; until it ends, an ordinary client must be served.
while_served() {
    local name=$1 attack served=0 most=0 now wrong
    shift
    timeout $((seconds + 60)) "$@" >"$cache/logs/$name.log" 2>&1 &
    attack=$!
    while kill -0 "$attack" 2>/dev/null; do
        wrong=$(ordinary)
        [ -z "$wrong" ] || fail "$name: an ordinary request: $wrong"
        served=$((served + 1))
        now=$(resident_mib)
        [ "$now" != gone ] || { fail "$name: arriero has ended"; break; }
        [ "$now" -le "$most" ] || most=$now
        sleep 0.5
    done
    attack_code=0
    wait "$attack" || attack_code=$?
    [ "$most" -le "$memory_mib" ] || fail "$name: $most MiB resident"
    echo "$name: $served ordinary requests served, at most $most MiB resident"
}

wrong=$(ordinary)
[ -z "$wrong" ] || { fail "before any attack: $wrong"; exit 1; }

slow=(slowhttptest -c 200 -r 100 -l "$seconds" -i 2 -p 2)
while_served slow-headers "${slow[@]}" -H -x 24 -u "$url/v1/models"
# a form: of JSON the first wrong byte would be refused, and the body be slow no longer
while_served slow-body "${slow[@]}" -B -s 8192 -x 24 -t POST -f "multipart/form-data; boundary=b" \
    -u "$url/v1/audio/transcriptions"
while_served ranges "${slow[@]}" -R -a 1 -b 3000 -t GET -u "$url/v1/models"
while_served slow-read "${slow[@]}" -X -w 10 -y 20 -n 2 -z 8 -k 3 -u "$url/v1/models"
for mode in slow-headers slow-body ranges slow-read; do
    # its own verdict: it says when its probe was not answered
    plain=$(sed 's/\x1b\[[0-9;]*m//g' "$cache/logs/$mode.log")
    grep -q 'Test ended' <<<"$plain" || fail "$mode: slowhttptest did not run: $cache/logs/$mode.log"
    if grep -Eq 'service available: *NO' <<<"$plain"; then fail "$mode: slowhttptest found the service not available"; fi
done

while_served smugglex "$cache/bin/smugglex" --json "$url/v1/chat/completions"
[ "$attack_code" = 0 ] || fail "smugglex: exit code $attack_code, see $cache/logs/smugglex.log"

kill -0 "$proxy" 2>/dev/null || fail "arriero has ended"
if grep -aq panicked "$cache/logs/arriero.log"; then fail "a panic: $cache/logs/arriero.log"; fi
[ "$failed" = 0 ] && echo "hostile: all held"
exit "$failed"
