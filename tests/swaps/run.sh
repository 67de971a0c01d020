#!/usr/bin/env bash
# Model swaps on real engines: the same requests through Arriero under several rules, before llama.cpp servers in router
# mode that hold two of six models each.
#
#   tests/swaps/run.sh                                    a table of means, tails, loads, and who got which
#   tests/swaps/run.sh --requests 30 --seeds 1            a first look
#   tests/swaps/run.sh --results benches/results/swaps.md --scenario tests/swaps/swaps.yaml
#
# ARRIERO_BIN names another binary; `none` sends to the engines in turn, without Arriero. Wants root on Debian and the
# network, as tests/real/run.sh does, and a machine that does nothing else: the load is set by what the engines can do.
# Exit codes: 0 measured; 77 skipped, with one line SKIPPED: why; else failed. Listens on loopback only.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
cache=${ARRIERO_REAL_CACHE:-$repo/target/real}
export ARRIERO_REAL_CACHE=$cache
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1
bin=${ARRIERO_BIN:-$repo/target/release/arriero}

if [ "$bin" != none ] && [ ! -x "$bin" ]; then
    echo "run: no arriero binary at $bin: build it, or set ARRIERO_BIN" >&2
    exit 2
fi

code=0
{ why=$("$repo/tests/real/install.sh" 2>&1 >&3) || code=$?; } 3>&1
if [ "$code" = 77 ]; then
    echo "SKIPPED: model swaps: ${why##*install: }"
    exit 77
elif [ "$code" != 0 ]; then
    echo "$why" >&2
    exit "$code"
fi

# Models: name, width, layers. 43 to 171 MB, so that a load costs more than a short answer.
models=$cache/sid/models/swaps
stamp=$models/made_by.py
if ! cmp -s "$repo/tests/real/make_model.py" "$stamp"; then
    mkdir -p "$models"
    while read -r name width layers; do
        "$cache/venv/bin/python" "$repo/tests/real/make_model.py" "$models/$name.gguf" \
            --name "$name" --width "$width" --layers "$layers"
    done <<'MODELS'
m1 512 4
m2 640 4
m3 512 8
m4 768 4
m5 768 6
m6 1024 4
MODELS
    cp "$repo/tests/real/make_model.py" "$stamp"
fi

export PYTHONPATH=$repo/tests/real PYTHONDONTWRITEBYTECODE=1
exec "$cache/venv/bin/python" "$here/compare.py" --arriero "$bin" --chroot "$cache/sid" --logs "$cache/logs-swaps" "$@"
