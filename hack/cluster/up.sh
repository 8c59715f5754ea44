#!/usr/bin/env bash
# Starts a Kubernetes cluster of two nodes on this machine: `make cluster-up`. README.md beside this tells how it is made.
#
# What runs already stays as it is, what is missing is started; so it can be run at any time. Progress goes to stderr; the
# last line, on stdout, sets KUBECONFIG. Needs root and Linux, and Go the first time.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=common.sh
. ./common.sh

require() { # what this machine has to have, or gets
  [ "$(uname -s)" = Linux ] || die "only Linux has the namespaces that the nodes are made of"
  [ "$(id -u)" = 0 ] || die "needs root, to make network namespaces and control groups: sudo -E make cluster-up"
  local missing=() entry
  for entry in containerd:containerd runc:runc buildah:buildah iptables:iptables ip:iproute2 openssl:openssl \
    nsenter:util-linux /usr/lib/cni/ptp:containernetworking-plugins; do
    command -v "${entry%:*}" >/dev/null || missing+=("${entry##*:}")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || die "missing on this machine: ${missing[*]} (names of Debian packages); install them"
  say "installing ${missing[*]}"
  # The machine's own containerd need not run; the nodes have theirs.
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"; } \
    >"$cluster/logs/apt.log" 2>&1 || { tail -n 25 "$cluster/logs/apt.log" >&2; die "apt-get could not install ${missing[*]}"; }
}

# --- credentials

certificate() { # name subject alternative-names
  [ ! -e "pki/$1.crt" ] || return 0
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "pki/$1.key" -subj "$2" 2>>logs/openssl.log |
    openssl x509 -req -CA pki/ca.crt -CAkey pki/ca.key -CAcreateserial -days 365 -out "pki/.$1.crt" 2>>logs/openssl.log \
      -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$3")
  mv "pki/.$1.crt" "pki/$1.crt"
}

kubeconfig() { # name of the certificate, file
  (
    umask 077
    cat >"$2" <<YAML
apiVersion: v1
kind: Config
current-context: contour-cluster
clusters:
  - name: contour-cluster
    cluster:
      server: https://$host:6443
      certificate-authority-data: $(base64 -w0 <pki/ca.crt)
users:
  - name: $1
    user:
      client-certificate-data: $(base64 -w0 <"pki/$1.crt")
      client-key-data: $(base64 -w0 <"pki/$1.key")
contexts:
  - name: contour-cluster
    context:
      cluster: contour-cluster
      user: $1
YAML
  )
}

credentials() {
  if [ ! -e pki/ca.crt ]; then
    say "making credentials"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout pki/ca.key -out pki/ca.crt \
      -days 365 -subj /CN=contour-cluster 2>>logs/openssl.log
    openssl ecparam -genkey -name prime256v1 -noout -out pki/accounts.key
    openssl ec -in pki/accounts.key -pubout -out pki/accounts.pub 2>>logs/openssl.log
  fi
  certificate apiserver /CN=kube-apiserver \
    "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,IP:$api_service,IP:$host"
  local name node
  certificate admin /O=system:masters/CN=admin DNS:admin
  for name in kube-controller-manager kube-scheduler kube-proxy; do
    certificate "$name" "/CN=system:$name" "DNS:$name"
  done
  for node in "${nodes[@]}"; do
    certificate "$node" "/O=system:nodes/CN=system:node:$node" "DNS:$node,IP:$(address "$node")"
  done
  for name in admin kube-controller-manager kube-scheduler kube-proxy "${nodes[@]}"; do
    kubeconfig "$name" "$name.kubeconfig"
  done
  [ -z "${SUDO_UID:-}" ] || chown "$SUDO_UID" admin.kubeconfig
}

# --- the machine: a bridge, and settings that the kubelets change

network() {
  if ! ip link show "$bridge" >/dev/null 2>&1; then
    ip link add "$bridge" type bridge
    ip address add "$host/24" dev "$bridge"
    ip link set "$bridge" up
  fi
  # Where bridged packets pass the packet filter (br_netfilter), a firewall on this machine must not drop the nodes' own.
  local rule=(FORWARD -i "$bridge" -o "$bridge" -m comment --comment contour-cluster -j ACCEPT)
  iptables -w -C "${rule[@]}" 2>/dev/null || iptables -w -I "${rule[@]}" || say "iptables does not work here; going on without"
  local setting
  [ -e settings ] || for setting in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops \
    kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
    printf '%s %s\n' "$setting" "$(cat "/proc/sys/$setting")"
  done >settings
}

# --- control plane

control_plane() {
  local peers=http://127.0.0.1:23801 clients=http://127.0.0.1:23800
  local part
  for part in etcd kube-apiserver kube-controller-manager kube-scheduler; do
    running "$part" || say "starting $part"
  done
  running etcd || start etcd "$bin/etcd" --data-dir=etcd --unsafe-no-fsync --log-level=warn \
    --listen-client-urls=$clients --advertise-client-urls=$clients \
    --listen-peer-urls=$peers --initial-advertise-peer-urls=$peers --initial-cluster=default=$peers
  running kube-apiserver || start kube-apiserver "$bin/kube-apiserver" --etcd-servers=$clients \
    --bind-address=$host --advertise-address=$host --secure-port=6443 --service-cluster-ip-range=$services \
    --client-ca-file=pki/ca.crt --tls-cert-file=pki/apiserver.crt --tls-private-key-file=pki/apiserver.key --cert-dir=pki \
    --kubelet-client-certificate=pki/admin.crt --kubelet-client-key=pki/admin.key \
    --kubelet-certificate-authority=pki/ca.crt --kubelet-preferred-address-types=InternalIP \
    --service-account-issuer=https://kubernetes.default.svc.cluster.local \
    --service-account-key-file=pki/accounts.pub --service-account-signing-key-file=pki/accounts.key \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true
  until_ok 120 "the API server" logs/kube-apiserver.log kubectl get --raw /readyz
  running kube-controller-manager || start kube-controller-manager "$bin/kube-controller-manager" \
    --kubeconfig=kube-controller-manager.kubeconfig --bind-address=$host --leader-elect=false \
    --use-service-account-credentials=true --service-account-private-key-file=pki/accounts.key --root-ca-file=pki/ca.crt \
    --cluster-cidr=$pods --service-cluster-ip-range=$services --allocate-node-cidrs=false --node-monitor-grace-period=24s \
    --flex-volume-plugin-dir="$cluster/volume-plugins"
  running kube-scheduler || start kube-scheduler "$bin/kube-scheduler" \
    --kubeconfig=kube-scheduler.kubeconfig --bind-address=$host --leader-elect=false
}

# --- nodes

node_config() { # node
  local config=$1/config
  mkdir -p "$config/cni"
  chmod 700 "$1"
  address "$1" >"$config/address"
  cp pki/ca.crt "$config/ca.crt"
  cp "pki/$1.crt" "$config/kubelet.crt"
  cp "pki/$1.key" "$config/kubelet.key"
  cp "$1.kubeconfig" "$config/kubelet.kubeconfig"
  cp kube-proxy.kubeconfig "$config/kube-proxy.kubeconfig"
  : >"$config/resolv.conf" # there is no DNS but the cluster's
  cat >"$config/containerd.toml" <<TOML
version = 2
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "contour-cluster.local/pause:v1"
  # Only CAP_SYS_RESOURCE may lower a process's out-of-memory score, and this machine need not give it.
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "/run/node/cni"
TOML
  # Point to point, not a bridge: what two pods of a node send each other is routed, so that an answer from behind a
  # Service's address is translated back without br_netfilter.
  cat >"$config/cni/10-contour-cluster.conflist" <<JSON
{
  "cniVersion": "0.4.0",
  "name": "contour-cluster",
  "plugins": [
    {
      "type": "ptp",
      "ipMasq": false,
      "ipam": {"type": "host-local", "ranges": [[{"subnet": "$(pod_range "$1")"}]], "routes": [{"dst": "0.0.0.0/0"}]}
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
JSON
  cat >"$config/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: /run/node/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: /run/node/kubelet.crt
tlsPrivateKeyFile: /run/node/kubelet.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
volumePluginDir: /var/lib/kubelet/volume-plugins
clusterDomain: cluster.local
clusterDNS: [$dns_service]
resolvConf: /run/node/resolv.conf
cgroupDriver: cgroupfs
cgroupRoot: /$(namespace "$1")
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
# A changed Secret reaches its pods with the next synchronization; a minute, the default, is long for a test.
syncFrequency: 5s
nodeStatusUpdateFrequency: 4s
nodeLeaseDurationSeconds: 20
maxPods: 110
# Images are loaded once and cannot be fetched again: they are never removed.
imageGCHighThresholdPercent: 100
imageMinimumGCAge: 100h
evictionHard: {memory.available: 100Mi, nodefs.available: 1Mi, imagefs.available: 1Mi, nodefs.inodesFree: "1", imagefs.inodesFree: "1"}
YAML
  cat >"$config/kube-proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
hostnameOverride: $1
clusterCIDR: $pods
clientConnection: {kubeconfig: /run/node/kube-proxy.kubeconfig}
# Left as the kernel has them: they belong to the machine and not to the node.
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
YAML
}

node_network() { # node
  local name port=contour-$1 ip other
  name=$(namespace "$1")
  ip=$(address "$1")
  [ -e "/run/netns/$name" ] || ip netns add "$name"
  ip link show "$port" >/dev/null 2>&1 || ip link add "$port" type veth peer name eth0 netns "$name"
  ip link set "$port" master "$bridge" up
  ip -n "$name" link set lo up
  ip -n "$name" address replace "$ip/24" dev eth0
  ip -n "$name" link set eth0 up
  ip -n "$name" route replace default via "$host"
  nsenter --net="/run/netns/$name" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
  # To the pods of this node: from this machine, and from the other nodes.
  ip route replace "$(pod_range "$1")" via "$ip" dev "$bridge"
  for other in "${nodes[@]}"; do
    [ "$other" = "$1" ] || ip -n "$name" route replace "$(pod_range "$other")" via "$(address "$other")"
  done
}

node_cgroups() { # node
  local name root kind
  name=$(namespace "$1")
  for root in $(cgroup_roots); do
    mkdir -p "$root/$name"
    if [ "$(cgroup_version)" = 2 ]; then
      for kind in cpuset cpu io memory hugetlb pids; do
        for file in "$root" "$root/$name"; do
          echo "+$kind" >"$file/cgroup.subtree_control" || true # not every kernel has all
        done
      done 2>/dev/null
    elif [ -e "$root/cpuset.cpus" ]; then
      # A new set is empty, and nothing can run in an empty one.
      cat "$root/cpuset.cpus" >"$root/$name/cpuset.cpus"
      cat "$root/cpuset.mems" >"$root/$name/cpuset.mems"
    fi
  done
}

node() { # node
  ! running "$1" || return 0
  say "starting node $1 ($(address "$1"))"
  node_config "$1"
  node_network "$1"
  node_cgroups "$1"
  # nsenter and not `ip netns exec`, which would mount another /sys, without control groups.
  start "$1" nsenter --net="/run/netns/$(namespace "$1")" \
    unshare --mount --pid --uts --fork --kill-child --mount-proc "$here/node.sh" "$1" "$cluster/$1" "$bin"
  until_ok 60 "containerd of $1" "logs/$1.log" ctr --address "$1/run/containerd/containerd.sock" version
}

main() {
  mkdir -p "$cluster"/{logs,pids,pki,etcd}
  chmod 711 "$cluster"
  chmod 700 "$cluster/pki" "$cluster/etcd"
  require
  lock
  here=$PWD
  bin=$(../kube.sh --cluster)
  cd "$cluster"
  export PATH=$bin:$PATH KUBECONFIG=$cluster/admin.kubeconfig
  credentials
  network
  control_plane
  local name
  for name in "${nodes[@]}"; do node "$name"; done
  "$here/../images.sh" pause coredns
  kubectl apply --server-side -f "$here/coredns.yaml" >/dev/null
  say "waiting for the nodes and the DNS"
  until_ok 120 "nodes ${nodes[*]} are not ready" "${nodes[0]}/var/log/kubelet.log" \
    kubectl wait --for=condition=Ready "${nodes[@]/#/node/}" --timeout=2s
  until_ok 120 "coredns" "${nodes[0]}/var/log/kubelet.log" kubectl -n kube-system rollout status deployment/coredns --timeout=2s
  say "ready after $SECONDS s"
  printf 'export KUBECONFIG=%q\n' "$KUBECONFIG"
}

main
