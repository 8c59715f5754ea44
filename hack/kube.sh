#!/usr/bin/env bash
# Obtains the real Kubernetes parts that the tests run and prints the directory that holds them.
#
#   hack/kube.sh              all default components (kube-apiserver, etcd)
#   hack/kube.sh NAME...      only these, see the table below
#
# With KUBEBUILDER_ASSETS set, the parts are taken from there and nothing is built. Otherwise they are built from
# source through the Go module proxy, once, into ${CONTOUR_CACHE:-~/.cache/contour-operator}/kube-VERSION.
# Progress goes to stderr. Exit code 3: Go is missing and there is nothing to use instead.
set -euo pipefail

KUBERNETES_VERSION=v1.36.3 # as in kube/go.mod

# One component a line: file name, Go package, built by default.
components='
kube-apiserver           k8s.io/kubernetes/cmd/kube-apiserver           default
etcd                     go.etcd.io/etcd/server/v3                      default
'

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${CONTOUR_CACHE:-$HOME/.cache/contour-operator}
say() { printf 'kube: %s\n' "$*" >&2; }

names=("$@")
if [ ${#names[@]} -eq 0 ]; then
  mapfile -t names < <(awk '$3 == "default" { print $1 }' <<<"$components")
fi

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  for name in "${names[@]}"; do
    [ -x "$KUBEBUILDER_ASSETS/$name" ] || {
      say "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS has no executable $name: put it there, or unset the variable to build it"
      exit 1
    }
  done
  printf '%s\n' "$KUBEBUILDER_ASSETS"
  exit 0
fi

# The directory is named after what determines the binaries, so that a changed go.mod never meets an old build.
recipe=$(cat "$here/kube/go.mod" "$here/kube/go.sum" | sha256sum | cut -c1-12)
bin=$cache/kube-$KUBERNETES_VERSION-$recipe
mkdir -p "$bin"

build() { # name package
  local name=$1 package=$2 started=$SECONDS
  say "building $name from $package (once; a few minutes on a small machine)"
  local version=k8s.io/component-base/version minor=${KUBERNETES_VERSION#v1.}
  (cd "$here/kube" && CGO_ENABLED=0 GOFLAGS=-mod=readonly go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X $version.gitVersion=$KUBERNETES_VERSION -X $version.gitMajor=1 \
      -X $version.gitMinor=${minor%%.*} -X $version.gitTreeState=clean" \
    -o "$bin/.$name.$$" "$package") >&2
  mv "$bin/.$name.$$" "$bin/$name" # atomic: a broken build leaves nothing that looks finished
  say "built $name in $((SECONDS - started)) s"
}

# Two callers at once (make -j, two checkouts) build each part only once.
exec 9<"$bin"
! command -v flock >/dev/null || flock 9
for name in "${names[@]}"; do
  [ -x "$bin/$name" ] && continue
  package=$(awk -v name="$name" '$1 == name { print $2 }' <<<"$components")
  [ -n "$package" ] || { say "no component named $name; known: $(awk '{ print $1 }' <<<"$components" | xargs)"; exit 1; }
  command -v go >/dev/null || {
    say "Go is missing, and KUBEBUILDER_ASSETS is not set: install Go 1.26 or newer (https://go.dev/dl), or point KUBEBUILDER_ASSETS at a directory with kube-apiserver and etcd"
    exit 3
  }
  build "$name" "$package"
done
printf '%s\n' "$bin"
