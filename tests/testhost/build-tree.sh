#!/bin/sh
# Builds the root of a clean Debian with systemd, for hosts that must not be a copy of this machine.
#
# $1 a directory that does not exist yet   $2 the suite. Needs root, mmdebstrap and Debian's package servers. The result
# is cached by this text.
set -eu
tree=$1 suite=$2

mmdebstrap --quiet --variant=minbase \
	--include=systemd,systemd-sysv,dbus,libpam-systemd,procps,iproute2,curl,prometheus,prometheus-alertmanager \
	"$suite" "$tree"

# The packages came; what they came in is of no more use.
rm -rf "$tree/var/cache/apt/archives" "$tree/var/lib/apt/lists" "$tree/usr/share/locale"
