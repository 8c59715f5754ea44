# shellcheck shell=bash
# What up.sh, down.sh and ../images.sh agree on. Sourced, not run.

# Everything the cluster keeps on disk. Removed by down.sh.
cluster=${CONTOUR_CLUSTER:-/var/lib/contour-cluster}

nodes=(n1 n2)
bridge=contour0
host=10.200.0.1 # of the bridge: the control plane listens here, and only here
pods=10.244.0.0/16
services=10.96.0.0/16
api_service=10.96.0.1
dns_service=10.96.0.10

address() { printf '10.200.0.1%s\n' "${1#n}"; }   # of a node
pod_range() { printf '10.244.%s.0/24\n' "${1#n}"; }
namespace() { printf 'contour-%s\n' "$1"; }       # the node's network namespace and its control group

say() { printf 'cluster: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# A process is recorded as its id and the time it was started at: ids are used again, the pair is not. One that has ended
# and that nobody has asked for (state Z) does not run.
started_at() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" { print $20 }'; }

running() { # name
  local pid began
  read -r pid began 2>/dev/null <"$cluster/pids/$1" || return 1
  [ -n "$began" ] && [ "$(started_at "$pid")" = "$began" ]
}

# Starts a process that outlives this script, its output in logs/NAME.log.
start() { # name command...
  local name=$1
  shift
  setsid "$@" >>"$cluster/logs/$name.log" 2>&1 </dev/null 9>&- &
  printf '%s %s\n' "$!" "$(started_at "$!")" >"$cluster/pids/$name"
}

# Ends a process that `start` recorded, and no other.
stop() { # name signal
  local name=$1 signal=$2 pid
  if running "$name"; then
    read -r pid _ <"$cluster/pids/$name"
    kill "-$signal" "$pid" 2>/dev/null || true
    for _ in {1..100}; do
      running "$name" || break
      sleep 0.1
    done
    ! running "$name" || kill -KILL "$pid" 2>/dev/null || true
  fi
  rm -f "$cluster/pids/$name"
}

# Waits until a command succeeds; gives up with the end of a log.
until_ok() { # seconds what log command...
  local seconds=$1 what=$2 log=$3 deadline
  shift 3
  deadline=$((SECONDS + seconds))
  until "$@" >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      say "$what: not within $seconds s; $log ends:"
      tail -n 25 "$log" >&2 || true
      exit 1
    fi
    sleep 0.2
  done
}

# The cluster's directories belong to one caller at a time.
lock() {
  mkdir -p "$cluster"
  exec 9<"$cluster"
  flock 9
}

# Where this kernel has control groups: the only hierarchy of version 2, or each of version 1 (beside which there may be one
# of version 2 without controllers).
cgroup_version() { if [ -e /sys/fs/cgroup/cgroup.controllers ]; then echo 2; else echo 1; fi; }
cgroup_roots() { awk '$3 ~ /^cgroup2?$/ { print $2 }' /proc/mounts; }
