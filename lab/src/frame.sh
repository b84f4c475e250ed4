# The frame of a lab: `sh frame.sh` on the host, with LAB_DIR, LAB_TIER, LAB_CGROUP, LAB_DETACHED in the environment.
#
# It makes network, mount and pid namespaces and stays. A lab ends when the input of the frame does, that is when the
# program at the other end of the pipe closes it or dies. The kernel then kills every process of the lab, and
# interfaces, tables and mounts go with their namespaces. A detached lab ends when its first process is killed.
set -eu

outside() {
  # The kubelet wants its root in each hierarchy of version 1, or with controllers enabled in version 2.
  roots=/sys/fs/cgroup
  if [ -e $roots/cgroup.controllers ]; then
    [ "$LAB_TIER" = control ] || echo +cpu +cpuset +memory +pids >$roots/cgroup.subtree_control
  else
    roots=$(echo $roots/*)
  fi
  [ "$LAB_TIER" = control ] || for root in $roots; do mkdir -p "$root/$LAB_CGROUP"; done

  unshare --net --mount --pid --fork --kill-child sh "$0" inside || true

  for root in $roots; do
    [ ! -d "$root/$LAB_CGROUP" ] || find "$root/$LAB_CGROUP" -depth -type d -exec rmdir {} +
  done
  # Without this file the start failed, and whoever started it reads the log.
  [ ! -e "$LAB_DIR/init" ] || [ "${EVERLEAF_LAB_KEEP-}" ] || rm -rf --one-file-system "$LAB_DIR"
}

inside() {
  # In the host's numbering, while /proc is still the host's.
  read -r pid _ </proc/self/stat
  mount -t proc proc /proc

  # Fixed paths of containerd, CNI and kubelet are below these, and the host's name service caches.
  mount -t tmpfs lab /run
  [ "$LAB_TIER" = control ] || { mount -t tmpfs lab /var/lib && mount -t tmpfs lab /var/log; }
  resolv=$(realpath -m /etc/resolv.conf)
  [ -e "$resolv" ] || { mkdir -p "${resolv%/*}" && touch "$resolv"; }
  mount --bind "$LAB_DIR/resolv.conf" "$resolv"

  # A bridge, since not every kernel has dummy interfaces. An empty one will do for local addresses.
  ip link set lo up
  # With an address of its own: otherwise it has the lowest of its ports', another one as Pods come and go, and for half a
  # minute the others send to the one before.
  ip link add lab0 address 02:00:0a:f4:00:01 type bridge
  ip address add 10.244.0.1/24 dev lab0
  ip link set lab0 up
  if [ "$LAB_TIER" = node ]; then
    ip address add 10.244.1.1/32 dev lab0
    # To the addresses of Services; kube-proxy rewrites them.
    ip route add 10.0.0.0/16 dev lab0 src 10.244.0.1
    echo 1 >/proc/sys/net/ipv4/ip_forward
  fi

  echo "$pid" >"$LAB_DIR/init.new"
  mv "$LAB_DIR/init.new" "$LAB_DIR/init"
  # As children, so that the shell reaps the lab's orphans meanwhile.
  if [ "$LAB_DETACHED" ]; then sleep infinity; else cat >/dev/null; fi
  exit 0
}

"${1-outside}"
