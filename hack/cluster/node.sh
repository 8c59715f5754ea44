#!/usr/bin/env bash
# The first process of a node, started by up.sh in the node's namespaces (network, mounts, processes, host name). When it
# ends, so does everything on the node, as if the power was cut.
#
# The node has a /run and a /var of its own, and a layer over /etc. They hold all that its containerd, kubelet and kube-proxy
# write: these can use their usual paths, and no mount or file of theirs shows outside.
#
#   node.sh NAME DIRECTORY BINARIES    DIRECTORY/config holds what up.sh wrote for this node
set -euo pipefail

name=$1 directory=$2 binaries=$3

mkdir -p "$directory"/run/{node,bin} "$directory"/var/{lib,log,tmp,cache} "$directory"/etc/{upper,work}
chmod 1777 "$directory/var/tmp"
ln -sfn ../run "$directory/var/run"
# What is under /run of a machine does not outlive a boot; containerd and the CNI plugins rely on that.
find "$directory/run" -mindepth 1 -maxdepth 1 ! -name node ! -name bin -exec rm -rf {} +
mount --bind "$directory/config" "$directory/run/node"
mount --bind "$binaries" "$directory/run/bin"
cd /
mount -t overlay -o "lowerdir=/etc,upperdir=$directory/etc/upper,workdir=$directory/etc/work" overlay /etc
mount --rbind "$directory/run" /run
mount --bind "$directory/var" /var
mount --make-rshared / # within this node: the kubelet hands mounts on to containers
hostname "$name"

keep() { # name command...
  local part=$1
  shift
  "$@" >>"/var/log/$part.log" 2>&1 &
}

keep containerd containerd --config /run/node/containerd.toml
until ctr --address /run/containerd/containerd.sock version >/dev/null 2>&1; do
  kill -0 $! 2>/dev/null || { echo "containerd ended early:"; tail -n 25 /var/log/containerd.log; exit 1; }
  sleep 0.1
done
keep kubelet /run/bin/kubelet --config=/run/node/kubelet.yaml --kubeconfig=/run/node/kubelet.kubeconfig \
  --hostname-override="$name" --node-ip="$(cat /run/node/address)"
keep kube-proxy /run/bin/kube-proxy --config=/run/node/kube-proxy.yaml

# Besides these three it reaps the processes whose parents have ended.
wait -n -p ended || true
echo "process $ended has ended, and the node with it: see containerd.log, kubelet.log and kube-proxy.log in $directory/var/log"
exit 1
