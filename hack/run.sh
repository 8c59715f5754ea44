#!/usr/bin/env bash
# Runs examples/standalone on this machine: its upstreams, the controller, and the Envoy that the controller starts.
# Ctrl-C ends all of it.
#
#   hack/run.sh [DIRECTORY]
#
# DIRECTORY, run/standalone unless told, is made as a copy of the example when it does not exist, for you to change while
# it runs; the checkout stays as it is. One that exists is used as it is. Remove it to begin again.
#
# Builds with the dev profile, which the tests share: an optimized build takes several times as long on the first run,
# and nobody feels the difference in a demonstration.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
directory=${1:-run/standalone}
say() { printf 'run: %s\n' "$*" >&2; }

# Address and name of every upstream, as examples/standalone/*/upstreams.yaml has them.
upstreams=(127.0.0.1:9101=www 127.0.0.1:9102=blog-v1 127.0.0.1:9103=blog-v2 127.0.0.1:9104=shop)
http=127.0.0.1:8080
https=127.0.0.1:8443

open() { (exec 3<>"/dev/tcp/${1%:*}/${1#*:}") 2>/dev/null; }
for address in "$http" "$https" "${upstreams[@]%=*}"; do
  ! open "$address" || { say "something listens on $address already: end it first"; exit 1; }
done
command -v cargo >/dev/null || { say "Rust is missing: install it from https://rustup.rs"; exit 1; }
envoy=$(hack/envoy.sh)
say "building (a few minutes the first time)"
cargo build -p contour -p contour-e2e --bin contour --bin echo --bin tls-secret
binaries=${CARGO_TARGET_DIR:-target}/debug

if [ ! -d "$directory" ]; then
  mkdir -p "$(dirname "$directory")"
  cp -r examples/standalone "$directory"
  # The example's certificate is made here: its key has no place in a repository.
  "$binaries/tls-secret" --secret team-a/example-com --host secure.example.com \
    --ca "$directory/ca.crt" --out "$directory/team-a/example-com.secret.yaml"
fi

pids=()
stop() { [ ${#pids[@]} -eq 0 ] || kill -TERM "${pids[@]}" 2>/dev/null || true; }
trap stop INT TERM HUP EXIT

# With job control each job has a process group of its own, so that Ctrl-C reaches this script only, which passes on
# exactly one signal. (A second Ctrl-C passes on a second one, which ends the controller at once.)
set -m
listen=()
for upstream in "${upstreams[@]}"; do listen+=(--listen "$upstream"); done
"$binaries/echo" "${listen[@]}" >&2 & pids+=($!)
"$binaries/contour" standalone "$directory" --envoy "$envoy" & controller=$!
pids+=("$controller")
set +m

announce() {
  for _ in {1..300}; do
    if open "$http"; then
      cat >&2 <<TEXT

run: ready. Change a file in $directory and the change is live; statuses are in $directory/.contour/status.
Try, in another terminal:

  curl -H 'Host: www.example.com' http://$http/
  curl -H 'Host: www.example.com' http://$http/blog
  curl -H 'Host: shop.example.com' http://$http/
  curl --cacert $directory/ca.crt --resolve secure.example.com:${https#*:}:${https%:*} https://secure.example.com:${https#*:}/

TEXT
      return
    fi
    sleep 0.2
  done
  say "Envoy does not listen on $http yet; the log above may tell why"
}
announce & pids+=($!)

# `wait` returns early when a signal arrives: wait until the controller is really gone.
status=0
while kill -0 "$controller" 2>/dev/null; do
  status=0
  wait "$controller" || status=$?
done
exit "$status"
