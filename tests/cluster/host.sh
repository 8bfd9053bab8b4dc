#!/bin/bash
# First process of one host of the lab, in PID, mount, IPC, UTS and network namespaces of its own.
# host.sh NAME HOME SSHD_CONFIG KEEP...: hides /tmp, /run, /dev/shm and HOME, but for the folders to keep; then sshd.
set -euo pipefail
name=$1 home=$2 sshd_config=$3
shift 3

mount --make-rprivate /
hostname "$name"
mount -t tmpfs tmpfs /mnt
number=0
for folder in "$@"; do
    mkdir "/mnt/$number"
    mount --rbind "$folder" "/mnt/$number"
    number=$((number + 1))
done
for hidden in /tmp /run /dev/shm "$home"; do
    mount -t tmpfs -o mode=1777 tmpfs "$hidden"
done
chmod 700 "$home"
number=0
for folder in "$@"; do
    mkdir -p "$folder"
    mount --rbind "/mnt/$number" "$folder"
    number=$((number + 1))
done
mkdir -p /run/sshd
ip link set lo up
if [ -n "$sshd_config" ]; then
    /usr/sbin/sshd -D -e -f "$sshd_config" &
fi
# bash reaps the orphans that it inherits while it waits; `ray stop` would wait for zombies.
sleep infinity &
wait
