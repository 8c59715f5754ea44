#!/usr/bin/env bash
# Obtains the real Kubernetes parts that the tests run and prints the directory that holds them.
#
#   hack/kube.sh              what the tests need (kube-apiserver, etcd)
#   hack/kube.sh --cluster    what hack/cluster needs as well
#   hack/kube.sh NAME...      only these
#
# With KUBEBUILDER_ASSETS set, the parts are taken from there and nothing is built. Otherwise they are built from
# source through the Go module proxy, once, into ${CONTOUR_CACHE:-~/.cache/contour-operator}/kube-VERSION.
# Progress goes to stderr. Exit code 3: Go is missing and there is nothing to use instead.
set -euo pipefail

KUBERNETES_VERSION=v1.36.3 # as in kube/go.mod

# One component a line: file name, directory of its Go module, Go package, who needs it.
components='
kube-apiserver           kube     k8s.io/kubernetes/cmd/kube-apiserver           test
etcd                     kube     go.etcd.io/etcd/server/v3                      test
kube-controller-manager  kube     k8s.io/kubernetes/cmd/kube-controller-manager  cluster
kube-scheduler           kube     k8s.io/kubernetes/cmd/kube-scheduler           cluster
kube-proxy               kube     k8s.io/kubernetes/cmd/kube-proxy               cluster
kubelet                  kube     k8s.io/kubernetes/cmd/kubelet                  cluster
kubectl                  kube     k8s.io/kubernetes/cmd/kubectl                  cluster
coredns                  coredns  contour-operator.local/coredns                 cluster
pause                    pause    contour-operator.local/pause                   cluster
stock-contour            stock    github.com/projectcontour/contour/cmd/contour  e2e
'

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${CONTOUR_CACHE:-$HOME/.cache/contour-operator}
say() { printf 'kube: %s\n' "$*" >&2; }

column() { awk -v name="$1" -v column="$2" '$1 == name { print $column }' <<<"$components"; }

case ${1:-} in
  '') mapfile -t names < <(awk '$4 == "test" { print $1 }' <<<"$components") ;;
  --cluster) mapfile -t names < <(awk 'NF && $4 != "e2e" { print $1 }' <<<"$components") ;;
  *) names=("$@") ;;
esac
for name in "${names[@]}"; do
  [ -n "$(column "$name" 2)" ] || { say "no component named $name; known: $(awk '{ print $1 }' <<<"$components" | xargs)"; exit 1; }
done

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

# The directory is named after what determines the binaries, so that a changed go.mod never meets an old build. What comes
# from the other modules has a stamp each, for the same reason.
recipe=$(cat "$here/kube/go.mod" "$here/kube/go.sum" | sha256sum | cut -c1-12)
bin=$cache/kube-$KUBERNETES_VERSION-$recipe
mkdir -p "$bin"
stamp() { # name module
  [ "$2" = kube ] || printf '%s/.%s-%s\n' "$bin" "$1" "$(cat "$here/$2"/* | sha256sum | cut -c1-12)"
}
built() { # name module
  local stamp
  stamp=$(stamp "$@")
  [ -x "$bin/$1" ] && [ -e "${stamp:-$bin/$1}" ]
}

# In one go: the parts of a module share most of what is compiled for them.
build() { # module name...
  local module=$1 started=$SECONDS name package packages=() stamp
  shift
  for name in "$@"; do packages+=("$(column "$name" 3)"); done
  say "building $* (once; a few minutes on a small machine)"
  local version=k8s.io/component-base/version minor=${KUBERNETES_VERSION#v1.}
  rm -rf "$bin/.building"
  (cd "$here/$module" && CGO_ENABLED=0 GOFLAGS=-mod=readonly go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X $version.gitVersion=$KUBERNETES_VERSION -X $version.gitMajor=1 \
      -X $version.gitMinor=${minor%%.*} -X $version.gitTreeState=clean" \
    -o "$bin/.building/" "${packages[@]}") >&2
  for name in "$@"; do
    package=$(column "$name" 3)
    package=${package%/v[0-9]} # Go leaves a version out of the name of a binary
    mv "$bin/.building/${package##*/}" "$bin/$name" # atomic: a broken build leaves nothing that looks finished
    stamp=$(stamp "$name" "$module")
    [ -z "$stamp" ] || touch "$stamp"
  done
  rmdir "$bin/.building"
  say "built $* in $((SECONDS - started)) s"
}

# Two callers at once (make -j, two checkouts) build each part only once.
exec 9<"$bin"
! command -v flock >/dev/null || flock 9
for module in $(awk 'NF && !seen[$2]++ { print $2 }' <<<"$components"); do
  missing=()
  for name in "${names[@]}"; do
    [ "$(column "$name" 2)" = "$module" ] && ! built "$name" "$module" && missing+=("$name")
  done
  [ ${#missing[@]} -gt 0 ] || continue
  command -v go >/dev/null || {
    say "Go is missing, and KUBEBUILDER_ASSETS is not set: install Go 1.26 or newer (https://go.dev/dl), or point KUBEBUILDER_ASSETS at a directory with ${names[*]}"
    exit 3
  }
  build "$module" "${missing[@]}"
done
printf '%s\n' "$bin"
