#!/usr/bin/env bash
# System packages that tests need. Cluster: sshd, ssh, rsync, ip, unshare, nsenter, setpriv. MLflow: PostgreSQL. Pages:
# chromium. Compiled steps: g++. Installs only what is missing, and only as root on Debian or Ubuntu; elsewhere it says
# what to install. Starts no service.
set -euo pipefail

declare -A package=([sshd]=openssh-server [ssh]=openssh-client [rsync]=rsync [ip]=iproute2 [unshare]=util-linux
                    [chromium]=chromium [g++]=g++)
missing=()
for program in "${!package[@]}"; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null || missing+=("${package[$program]}")
done
# Debian keeps initdb off the path.
compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null || command -v initdb >/dev/null || missing+=(postgresql)
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "for the tests of clusters, servers and pages, install: ${missing[*]}" >&2
    exit 0
fi
# A package that is only fetched must not open a port: policy-rc.d forbids to start services while it is installed.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
