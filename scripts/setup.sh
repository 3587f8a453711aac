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
if [ ${#packages[@]} -eq 0 ]; then
    exit 0
fi
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
