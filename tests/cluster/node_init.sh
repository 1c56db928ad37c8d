#!/bin/bash
# Process 1 of a node: an ordinary machine's folders, then containerd, kube-proxy and the kubelet, restarted when they end.
# It runs in namespaces of its own for network, mounts and processes, so when it is killed, everything of the node is gone.
#   node_init.sh DISK NAME ADDRESS KUBECONFIG KUBELET KUBE_PROXY [PODS=NEIGHBOUR ...]
set -eu
DISK=$1 NAME=$2 ADDRESS=$3 KUBECONFIG=$4 KUBELET=$5 KUBE_PROXY=$6; shift 6
GATEWAY=198.18.0.1

mount --make-rshared /
mount -t tmpfs -o mode=755 tmpfs /run
for folder in lib/kubelet lib/containerd lib/cni log; do
  mkdir -p "$DISK/$folder" "/var/$folder"
  mount --bind "$DISK/$folder" "/var/$folder"
done
mkdir -p /run/containerd /run/netns

until ip link show eth0 >/dev/null 2>&1; do sleep 0.05; done
ip link set lo up
ip address add "$ADDRESS/24" dev eth0
ip link set eth0 up
ip route add default via "$GATEWAY"
for neighbour in "$@"; do ip route add "${neighbour%=*}" via "${neighbour#*=}"; done
# /proc/sys/net is the node's own; a pod's packets are routed between its cable, the node's and the services.
echo 1 > /proc/sys/net/ipv4/ip_forward

keep() {  # name command...: run it again whenever it ends, as a machine's init would
  local name=$1; shift
  while :; do
    "$@" >>"$DISK/$name.log" 2>&1 || true
    echo "$name ended, starting it again" >>"$DISK/$name.log"
    sleep 1
  done
}

keep containerd containerd -c "$DISK/containerd.toml" &
until [ -S /run/containerd/containerd.sock ]; do sleep 0.1; done
keep kube-proxy "$KUBE_PROXY" --kubeconfig="$KUBECONFIG" --proxy-mode=iptables --hostname-override="$NAME" \
  --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0 &
until [ -e "$DISK/images-loaded" ]; do sleep 0.1; done
keep kubelet "$KUBELET" --config="$DISK/kubelet.json" --kubeconfig="$KUBECONFIG" --hostname-override="$NAME" \
  --node-ip="$ADDRESS" --cert-dir="$DISK/kubelet-pki" &
wait
