#!/usr/bin/env bash
# Cuts the power of a node: hack/cluster/off.sh n2. Everything on it ends at once, and its disk stays; up.sh starts it again.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
. ./common.sh
[ $# = 1 ] && [[ " ${nodes[*]} " = *" $1 "* ]] || die "which node? One of ${nodes[*]}"
lock
running "$1" || die "node $1 does not run"
stop "$1" KILL
say "node $1 is off"
