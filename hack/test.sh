#!/usr/bin/env bash
# Runs the whole test suite, with the real parts that it needs. Arguments go to `cargo test`.
#
# The tests run a real Envoy (from PyPI) and a real kube-apiserver with etcd (built with Go, or from KUBEBUILDER_ASSETS).
# Without Go and KUBEBUILDER_ASSETS this fails, and names the tests that cannot run. ACCEPT_MISSING=go runs the others.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
say() { printf 'test: %s\n' "$*" >&2; }

envoy=$(hack/envoy.sh)
export ENVOY_BIN=$envoy

kube=0
hack/kube.sh >/dev/null || kube=$?
case $kube in
  0) ;;
  3)
    say "these tests need kube-apiserver and etcd, which cannot be had here (see above):"
    grep -rl --include='*.rs' 'apiserver::require()' . --exclude-dir=target | grep -v '^./e2e/src/' | sort | sed 's/^/  /' >&2
    if [ "${ACCEPT_MISSING:-}" != go ]; then
      say "to run all others, accept that: ACCEPT_MISSING=go make test"
      exit 1
    fi
    say "left out, as ACCEPT_MISSING=go accepts"
    export CONTOUR_TEST_WITHOUT=kube
    ;;
  *) exit "$kube" ;;
esac

exec cargo test --workspace --no-fail-fast "$@"
