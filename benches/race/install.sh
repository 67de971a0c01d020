#!/usr/bin/env bash
# Installs what Arriero races against: HAProxy and nginx by apt (root on Debian), the LLM routers by pip into environments
# of their own under the folder $1. What cannot be installed is named and left out of the race; that is no failure.
set -uo pipefail
folder=${1:?usage: install.sh FOLDER}
mkdir -p "$folder"

missing=()
for program in haproxy nginx; do
    command -v "$program" >/dev/null || [ -x "/usr/sbin/$program" ] || missing+=("$program")
done
if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        # Nothing is to start by itself: the race starts its own.
        policy=/usr/sbin/policy-rc.d
        if [ -e "$policy" ]; then policy=; else printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"; fi
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            "${missing[@]/nginx/nginx-light}"; } >"$folder/apt.log" 2>&1 || echo "not installed: ${missing[*]} (see $folder/apt.log)"
        [ -z "$policy" ] || rm -f "$policy"
    else
        echo "not installed (needs root on Debian): ${missing[*]}"
    fi
fi

# Name, version and the program each wheel brings.
while read -r name version; do
    [ -x "$folder/$name/bin/python" ] || python3 -m venv "$folder/$name" || continue
    "$folder/$name/bin/pip" show -q "$name" 2>/dev/null && continue
    "$folder/$name/bin/pip" install -q --disable-pip-version-check "$name==$version" >"$folder/$name.log" 2>&1 ||
        echo "not installed: $name $version (see $folder/$name.log)"
done <<'ROUTERS'
sglang-router 0.3.2
smg 1.13.0
vllm-router 0.1.17
ROUTERS
exit 0
