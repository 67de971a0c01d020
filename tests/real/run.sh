#!/usr/bin/env bash
# Real engines behind Arriero: installs them, writes their models, starts all, drives it with the clients people use.
#
#   ARRIERO_BIN=target/debug/arriero tests/real/run.sh     the checks, through Arriero
#   ARRIERO_BIN=none tests/real/run.sh                     the same checks straight against the engines
#
# Exit codes: 0 all passed; 77 skipped, with one line SKIPPED: why; else failed. Listens on loopback only, at ports that
# were free. Logs of all processes stay in ${ARRIERO_REAL_CACHE:-target/real}/logs.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
cache=${ARRIERO_REAL_CACHE:-$repo/target/real}
export ARRIERO_REAL_CACHE=$cache
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1  # a proxy towards the package indexes is not one towards the engines
bin=${1:-${ARRIERO_BIN:-$repo/target/debug/arriero}}

if [ "$bin" != none ] && [ ! -x "$bin" ]; then
    echo "run: no arriero binary at $bin: build it, or set ARRIERO_BIN" >&2
    exit 2
fi

code=0
{ why=$("$here/install.sh" 2>&1 >&3) || code=$?; } 3>&1
if [ "$code" = 77 ]; then
    echo "SKIPPED: real engines: ${why##*install: }"
    exit 77
elif [ "$code" != 0 ]; then
    echo "$why" >&2
    exit "$code"
fi

# Models: name, width, layers. Wide ones decode slowly enough to be cancelled half-way.
models=$cache/sid/models
stamp=$models/made_by.py
if ! cmp -s "$here/make_model.py" "$stamp"; then
    mkdir -p "$models/swap"
    while read -r file width layers; do
        "$cache/venv/bin/python" "$here/make_model.py" "$models/$file.gguf" \
            --name "$(basename "$file")" --width "$width" --layers "$layers"
    done <<'MODELS'
tiny-chat 512 4
tiny-embed 64 2
tiny-long 64 2
swap/swap-a 256 4
swap/swap-b 256 4
swap/swap-c 256 4
MODELS
    cp "$here/make_model.py" "$stamp"
fi

# Node looks for packages beside a script and above it, so the scripts go where the packages are.
if [ -d "$cache/js/node_modules" ]; then cp "$here"/js/*.mjs "$cache/js/"; fi

exec "$cache/venv/bin/python" "$here/drive.py" --arriero "$bin" --chroot "$cache/sid" \
    --js "$cache/js" --logs "$cache/logs"
