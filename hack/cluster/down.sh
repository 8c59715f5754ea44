#!/usr/bin/env bash
# Ends the cluster of up.sh and removes all that it made: `make cluster-down`. Does nothing where there is none.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=common.sh
. ./common.sh

[ "$(id -u)" = 0 ] || die "needs root: sudo -E make cluster-down"
[ -d "$cluster" ] || exit 0
case $cluster in / | /var | /usr | /etc | /home | "$HOME") die "CONTOUR_CLUSTER=$cluster is no directory of a cluster" ;; esac
[ -d "$cluster/pids" ] || die "$cluster was not made by up.sh; remove it yourself"
lock

# The kernel ends every process of a node with its first; their mounts go with them.
for node in "${nodes[@]}"; do
  stop "$node" KILL
  name=$(namespace "$node")
  ip link delete "contour-$node" 2>/dev/null || true
  [ ! -e "/run/netns/$name" ] || ip netns delete "$name"
  for root in $(cgroup_roots); do
    [ -d "$root/$name" ] || continue
    for _ in {1..50}; do
      find "$root/$name" -depth -type d -exec rmdir {} \; 2>/dev/null || true
      [ -d "$root/$name" ] || break
      sleep 0.1
    done
    [ ! -d "$root/$name" ] || say "$root/$name still has processes: $(find "$root/$name" -name cgroup.procs -exec cat {} + | xargs)"
  done
done
# Nothing of theirs is kept: the API server would take its time to let watches go.
for name in kube-scheduler kube-controller-manager kube-apiserver etcd; do stop "$name" KILL; done
while iptables -w -D FORWARD -i "$bridge" -o "$bridge" -m comment --comment contour-cluster -j ACCEPT 2>/dev/null; do :; done
# `ip netns` keeps the directory mounted; it mounts it anew when somebody needs it.
rmdir /run/netns 2>/dev/null || { [ -n "$(ls -A /run/netns 2>/dev/null)" ] || umount /run/netns 2>/dev/null && rmdir /run/netns; } || true
ip link delete "$bridge" 2>/dev/null || true
# The kubelets set these for the whole machine.
if [ -s "$cluster/settings" ]; then
  while read -r setting value; do echo "$value" >"/proc/sys/$setting"; done <"$cluster/settings"
fi
rm -rf --one-file-system "$cluster"
say "gone"
