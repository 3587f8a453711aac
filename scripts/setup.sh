#!/usr/bin/env bash
# Installs what a target needs and the machine lacks, with Debian's package manager.
#   scripts/setup.sh web    what builds the page
#   scripts/setup.sh test   what the tests need beyond that
set -euo pipefail

packages=()
need() { # COMMAND PACKAGE
    command -v "$1" >/dev/null 2>&1 || packages+=("$2")
}

need cc build-essential
case "${1:-}" in
web)
    need node nodejs
    need npm npm
    ;;
test)
    need chromium chromium
    need promtool prometheus
    need curl curl
    need python3 python3
    # Debian has the part of Python that makes environments in a package of its own.
    python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
    ;;
*)
    echo "usage: scripts/setup.sh web|test" >&2
    exit 2
    ;;
esac

if ! command -v cargo >/dev/null 2>&1; then
    echo "Rust is not installed: install rustc and cargo (1.94 or newer) first, for example with rustup" >&2
    exit 1
fi
# Another engine to compare answers with, in an environment of its own.
duckdb() {
    local venv=$HOME/.cache/syncline/duckdb
    "$venv/bin/python" -c 'import duckdb' 2>/dev/null && return
    echo "installing duckdb in $venv"
    python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check duckdb ||
        echo "duckdb cannot be installed: the tests that compare with it will say that they were skipped" >&2
}

install() {
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "please install: ${packages[*]} (there is no apt-get here to do it)" >&2
        exit 1
    fi
    echo "installing ${packages[*]}"
    sudo=""
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    export DEBIAN_FRONTEND=noninteractive
    $sudo apt-get update -qq
    $sudo apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
    # The package starts a server of its own, which nobody asked for.
    if [[ " ${packages[*]} " == *" prometheus "* ]]; then
        $sudo systemctl disable --now prometheus >/dev/null 2>&1 || true
    fi
}

[ ${#packages[@]} -eq 0 ] || install
[ "$1" != test ] || duckdb
