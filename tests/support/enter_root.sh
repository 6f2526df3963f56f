#!/bin/sh
# Runs a command in a root of layers, with mounts that nobody else sees and that end with it.
#   LAYERS=UPPERMOST:...:LOWEST UPPER=DIR WORK=DIR ROOT=DIR [FOLDERS="FROM:TO ..."] enter_root.sh COMMAND...
# UPPER takes what the command writes. The machine's addresses and certificates of its network are lent.
set -eu
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$LAYERS,upperdir=$UPPER,workdir=$WORK" "$ROOT"
mount -t proc proc "$ROOT/proc"
mount --rbind /dev "$ROOT/dev"
for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
    if [ -e "$file" ] && [ -e "$ROOT$file" ]; then mount --bind "$file" "$ROOT$file"; fi
done
for pair in ${FOLDERS:-}; do
    mkdir -p "$ROOT${pair#*:}"
    mount --bind "${pair%%:*}" "$ROOT${pair#*:}"
done
# In a network of its own, where there is this machine alone.
if [ -n "${OFFLINE:-}" ]; then ip link set lo up; fi
exec chroot "$ROOT" "$@"
