# The parent of one throwaway host. It runs in a mount namespace of its own, so that the host's mounts are gone with
# the host, and it ends the host when its standard input closes: that is when the test drops the host, and also when
# the test's process dies without a chance to clean up.
#
# $1 working directory   $2 cgroup   $3 host name   $4 the root that it is laid over   the rest: more options for
# systemd-nspawn
set -eu
work=$1 cgroup=$2 name=$3 tree=$4
shift 4
echo 0 > "$cgroup/guard/cgroup.procs"

# systemd-nspawn leaves directories below /run behind; these go with the namespace too.
mkdir -p /run/systemd/nspawn
mount -t tmpfs -o mode=755 unitmedic-test /run/systemd/nspawn
mount -t tmpfs -o mode=755 unitmedic-test "$work/mount"
cd "$work/mount"
mkdir -p upper/etc work root
: > upper/etc/machine-id
mount -t overlay -o "lowerdir=$tree,upperdir=upper,workdir=work" overlay root

# What packages and people enabled on this machine stays here: no databases, no timers, no journal of the past.
rm -rf root/etc/systemd/system/* root/etc/rc?.d/* root/etc/fstab root/etc/hostname root/var/log/journal \
	root/etc/unitmedic root/var/lib/unitmedic root/var/cache/unitmedic root/usr/bin/unitmedic \
	root/var/lib/systemd/linger root/var/lib/systemd/timers
ln -s /dev/null root/etc/systemd/system/console-getty.service

# Files come one by one through chroot, or a symlink in the path would lead out of the host.
while IFS='	' read -r mode source target; do
	chroot root sh -c 'mkdir -p "$(dirname "$2")" && cat > "$2" && chmod "$1" "$2"' sh "$mode" "$target" < "$source"
done < "$work/files"

exec 3<&0
(
	echo 0 > "$cgroup/host/cgroup.procs"
	exec 3<&-
	SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 exec systemd-nspawn --quiet --register=no --keep-unit \
		--kill-signal=SIGRTMIN+3 --capability=all --directory=root --boot --machine="$name" "$@" \
		< /dev/null > "$work/console" 2>&1
) &
host=$!
(
	read -r _ <&3 || :
	kill -TERM $host
	sleep 3
	kill -KILL $host
) 2> /dev/null &
wait $host || :
# The watcher, its sleep and this shell go with everything that is left.
echo 1 > "$cgroup/cgroup.kill"
