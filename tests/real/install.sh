#!/usr/bin/env bash
# Installs what the real-engine checks need: llama.cpp's server, the Python clients and the JavaScript ones.
#
# llama.cpp is packaged in Debian sid only and needs sid's libc, so it goes into a chroot of its own; the host stays
# as it is but for mmdebstrap. Everything lands in ${ARRIERO_REAL_CACHE:-target/real} and is kept: a second run is done
# in a moment. Needs root (chroot), Debian's package mirror, the Python package index and npm's. The JavaScript clients
# need node 20 or newer, which nobody installs here: without it their checks are skipped, and with
# ARRIERO_REAL=required all of it is.
#
# Exit codes: 0 ready; 77 cannot be had here (one line says why: no network, not root, no Debian); 1 broken.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
cache=${ARRIERO_REAL_CACHE:-$repo/target/real}
chroot_dir=$cache/sid
venv=$cache/venv
log=$cache/install.log

say() { printf '[%(%H:%M:%S)T] install: %s\n' -1 "$*"; }
cannot() { echo "install: $*" >&2; exit 77; }

# What a missing network looks like in the words of apt, pip and npm.
no_network='EAI_AGAIN|ENOTFOUND|ETIMEDOUT|ECONNREFUSED|Temporary failure|Could not resolve|Could not connect|Unable to connect|Network is unreachable|NewConnectionError|ConnectTimeout|Connection timed out|No route to host|Name or service not known|Failed to establish a new connection'

# step NAME COMMAND...: runs quietly; tells a missing network from a broken recipe.
step() {
    local name=$1; shift
    local begin=$SECONDS
    if "$@" >"$log" 2>&1; then
        say "$name: done in $((SECONDS - begin)) s"
        return
    fi
    if grep -qE "$no_network" "$log"; then
        cannot "no network: $name cannot reach its package index"
    fi
    tail -n 25 "$log" >&2
    echo "install: $name failed (whole log: $log)" >&2
    exit 1
}

install_host_packages() {
    apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

# In these two every line hangs on the one before by hand: bash does not stop on errors below an `if`.
make_chroot() {
    # Built beside its place and moved there at the end, so that a broken run leaves nothing that looks finished.
    # Sid's index may be past its valid-until date on a lagging mirror; the signature is checked all the same.
    rm -rf --one-file-system "$chroot_dir.new" "$chroot_dir" \
        && mmdebstrap --mode=root --variant=apt --include=ca-certificates,llama.cpp-tools \
            --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='APT::Install-Recommends "false"' \
            sid "$chroot_dir.new" \
        && chroot "$chroot_dir.new" llama-server --version \
        && mv "$chroot_dir.new" "$chroot_dir"
}

make_venv() {
    rm -rf "$venv" \
        && python3 -m venv "$venv" \
        && "$venv/bin/pip" install --quiet --requirement "$here/requirements.txt" \
        && cp "$here/requirements.txt" "$venv/installed.txt"
}

# Only the checker of Prometheus' text format: the package is unpacked beside, not installed, so no service starts.
get_promtool() {
    rm -rf "$cache/prometheus" && mkdir -p "$cache/prometheus" \
        && cd "$cache/prometheus" && apt-get update && apt-get download prometheus \
        && dpkg -x ./*.deb . && ./usr/bin/promtool --version && rm -f ./*.deb
}

# Exact versions, but no lock file: that would name an index.
get_node_packages() {
    rm -rf "$cache/js" && mkdir -p "$cache/js" && cp "$here/js/package.json" "$cache/js/" \
        && npm install --prefix "$cache/js" --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error \
        && cp "$here/js/package.json" "$cache/js/installed.json"
}

mkdir -p "$cache"

if [ ! -x "$chroot_dir/usr/bin/llama-server" ]; then
    [ "$(id -u)" = 0 ] || cannot "not root: the engine runs in a chroot"
    command -v apt-get >/dev/null || cannot "not a Debian system: the engine comes from Debian's packages"
    command -v mmdebstrap >/dev/null || step "mmdebstrap" install_host_packages mmdebstrap
    step "llama.cpp in a chroot" make_chroot
fi

[ -x "$cache/prometheus/usr/bin/promtool" ] || step "promtool" get_promtool

if ! cmp -s "$here/requirements.txt" "$venv/installed.txt"; then
    command -v python3 >/dev/null || cannot "no python3"
    python3 -c 'import ensurepip' 2>/dev/null || step "python3-venv" install_host_packages python3-venv
    step "python clients" make_venv
fi

node_major=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/') || true
if [ "${node_major:-0}" -lt 20 ] || ! command -v npm >/dev/null; then
    [ "${ARRIERO_REAL:-}" != required ] || cannot "no node 20 with npm"
    rm -rf "$cache/js"
    say "no node 20 with npm: the JavaScript clients are left out"
elif ! cmp -s "$here/js/package.json" "$cache/js/installed.json"; then
    step "javascript clients" get_node_packages
fi

say "ready in $cache"
