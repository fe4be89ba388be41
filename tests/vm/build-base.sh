#!/bin/sh
# Builds what the virtual machine boots from: Debian with systemd on cgroup v2, a kernel, and an initramfs.
#
# $1 an empty directory, which then holds base.img, vmlinuz and initrd. Needs root, mmdebstrap, mke2fs, busybox, cpio
# and Debian's package servers. The result is cached by this file's contents.
set -eu
out=$1
rootfs=$out/rootfs kernel=$out/kernel initrd=$out/initrd.d
export kernel
mkdir "$kernel"

# The kernel comes through the new system's own apt (a hook runs with its configuration), and only its files are
# taken: installing the package would build a boot loader's world around it.
mmdebstrap --quiet --variant=minbase \
	--include=systemd,systemd-sysv,dbus,libpam-systemd,iproute2,procps,kmod \
	--customize-hook='
		export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
		image=$(apt-cache depends linux-image-cloud-amd64 | sed -n "s/^ *Depends: //p" | head -n 1)
		cd "$kernel" && apt-get --quiet=2 -o APT::Sandbox::User=root download "$image"' \
	bookworm "$rootfs"
dpkg-deb --extract "$kernel"/linux-image-*.deb "$kernel"
version=$(ls "$kernel/lib/modules")
cp "$kernel/boot/vmlinuz-$version" "$out/vmlinuz"

modules=lib/modules/$version/kernel
for part in drivers/virtio drivers/block/virtio_blk.ko net fs/overlayfs; do
	mkdir -p "$rootfs/$modules/$(dirname $part)"
	cp -r "$kernel/$modules/$part" "$rootfs/$modules/$part"
done
cp "$kernel/lib/modules/$version"/modules.* "$rootfs/lib/modules/$version/"
chroot "$rootfs" depmod "$version"

# Nobody logs in, and no timer may disturb a test.
for unit in getty@tty1.service serial-getty@ttyS0.service console-getty.service systemd-firstboot.service \
	apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
	systemd-tmpfiles-clean.timer; do
	ln -sf /dev/null "$rootfs/etc/systemd/system/$unit"
done
echo unitmedic-vm > "$rootfs/etc/hostname"
: > "$rootfs/etc/fstab"

# The tests come on a second drive, as a tar archive without a file system. The unit is not part of the boot (a
# `simple` service counts as started at once), so systemd can finish starting while the tests wait for that.
cat > "$rootfs/etc/systemd/system/unitmedic-cases.service" <<'UNIT'
[Unit]
Description=Tests inside the virtual machine
DefaultDependencies=no
After=dbus.socket systemd-tmpfiles-setup.service

[Service]
ExecStartPre=tar --extract --file=/dev/vdb --directory=/
ExecStart=/opt/unitmedic-cases
Environment=UNITMEDIC_VM_INSIDE=1
StandardOutput=file:/dev/ttyS1
StandardError=file:/dev/ttyS1
OOMScoreAdjust=-900
UNIT
mkdir -p "$rootfs/etc/systemd/system/multi-user.target.wants"
ln -s ../unitmedic-cases.service "$rootfs/etc/systemd/system/multi-user.target.wants/"
rm -rf "$rootfs/var/cache/apt" "$rootfs/var/lib/apt/lists" "$rootfs/usr/share/doc" "$rootfs/usr/share/locale" \
	"$rootfs/usr/share/man"
mke2fs -q -t ext4 -d "$rootfs" "$out/base.img" 1G

# The kernel has its block driver as modules, so a first root file system inserts them.
mkdir -p "$initrd/bin" "$initrd/dev" "$initrd/root" "$initrd/$modules/drivers/block"
cp "$(command -v busybox)" "$initrd/bin/busybox"
cp -r "$rootfs/$modules/drivers/virtio" "$initrd/$modules/drivers/"
cp "$rootfs/$modules/drivers/block/virtio_blk.ko" "$initrd/$modules/drivers/block/"
cp "$rootfs/lib/modules/$version/modules.dep" "$initrd/lib/modules/$version/"
cat > "$initrd/init" <<'INIT'
#!/bin/busybox sh
export PATH=/bin
busybox mount -t devtmpfs dev /dev
busybox modprobe virtio_pci
busybox modprobe virtio_blk
tries=0
until busybox mount -t ext4 /dev/vda /root; do
	tries=$((tries + 1))
	[ $tries -lt 50 ] || exit 1
	busybox usleep 100000
done
busybox mount --move /dev /root/dev
exec busybox switch_root /root /sbin/init
INIT
chmod 755 "$initrd/init"
(cd "$initrd" && find . | cpio --quiet --create --format=newc | gzip -1) > "$out/initrd"
rm -rf "$rootfs" "$kernel" "$initrd"
