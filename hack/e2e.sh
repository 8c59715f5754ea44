#!/usr/bin/env bash
# Proves an installation in a cluster: runs e2e/src/bin/cluster against the cluster that KUBECONFIG names. `make e2e`.
#
# Without KUBECONFIG it takes the cluster of hack/cluster, which it starts, and ends, if it does not run yet; KEEP=1 keeps it.
# Any other cluster has to reach the images: push them (hack/images.sh) and name them in OPERATOR_IMAGE, ENVOY_IMAGE,
# ECHO_IMAGE and, for the version that is changed to, OPERATOR_IMAGE_NEXT. Its nodes have to be reachable from here.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
say() { printf 'e2e: %s\n' "$*" >&2; }

if [ -z "${KUBECONFIG:-}" ]; then
  # shellcheck source=hack/cluster/common.sh
  . hack/cluster/common.sh
  running n1 || [ "${KEEP:-}" = 1 ] || trap 'hack/cluster/down.sh' EXIT
  hack/cluster/up.sh >/dev/null
  hack/images.sh contour-operator envoy echo stock-contour
  export KUBECONFIG=$cluster/admin.kubeconfig NODE_OFF=hack/cluster/off.sh NODE_ON=hack/cluster/up.sh
else
  say "using the cluster of KUBECONFIG=$KUBECONFIG; it has to have the images"
fi
# What users of Contour without the operator apply, for the step that takes such an installation over.
(cd hack/stock && go mod download github.com/projectcontour/contour)
STOCK_MANIFESTS=$(cd hack/stock && go list -m -f '{{.Dir}}' github.com/projectcontour/contour)/examples/contour
export STOCK_MANIFESTS
if [ -n "${BINARIES:-}" ]; then
  "$BINARIES/cluster" "$@"
else
  cargo run --quiet -p contour-e2e --bin cluster -- "$@"
fi
