#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# boot.sh DIR - boot systemd, with what DIR/install holds laid over this machine
#
# In namespaces of its own, on a copy of this machine that lives in memory: PID,
# mount, network, IPC, UTS and cgroup.  DIR/units are its only units; it runs
# test.target and ends with it.  DIR/out is /mnt there.  Needs root.
# Exit status: 77 this machine cannot, 0 it booted and ended.
set -u -o pipefail
dir=$1

if [[ -z ${NBCID_INSIDE-} ]]; then
        [[ $(id -u) -eq 0 && -x /lib/systemd/systemd ]] || exit 77
        top=/sys/fs/cgroup
        [[ -e $top/cgroup.procs && ! -d $top/unified ]] || top=$top/unified
        cgroup=$top/nbcid-test-$$
        home=$top$(sed -n 's/^0:://p' /proc/self/cgroup)
        mkdir "$cgroup" && echo $$ >"$cgroup/cgroup.procs" || exit 77
        mkdir -p "$dir/top"
        NBCID_INSIDE=1 timeout -k 5 "${NBCID_BOOT_SECONDS:-120}" \
                unshare --fork --mount --pid --uts --ipc --net --cgroup --propagation private \
                --kill-child "$0" "$dir"
        status=$?
        echo $$ >"$home/cgroup.procs"
        # Empty as soon as the last process of that PID namespace is reaped.
        for _ in {1..100}; do
                find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null
                [[ -d $cgroup ]] || break
                sleep 0.05
        done
        exit $status
fi

trap 'exit 77' ERR
root=$dir/top/root
mount -t tmpfs tmpfs "$dir/top"
mkdir "$dir"/top/{upper,work,root}
mount -t overlay -o "lowerdir=/,upperdir=$dir/top/upper,workdir=$dir/top/work" overlay "$root"
[[ -x $root/lib/systemd/systemd && -x $root/usr/bin/python3 ]] # /usr may be a mount
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount --rbind /dev "$root/dev"
for place in run tmp var/lib; do
        mount -t tmpfs -o mode=755 tmpfs "$root/$place"
done
chmod 1777 "$root/tmp"
trap 'exit 1' ERR # from here on it is not the machine's fault
# Not cp: /lib is a link to usr/lib, and stays one.
tar -C "$dir/install" -c . | tar -C "$root" -x --keep-directory-symlink --no-overwrite-dir
mkdir -p "$root/run/units" "$root/mnt" "$root/media"
cp -a "$dir/units/." "$root/run/units/"
mount --bind "$dir/out" "$root/mnt"
cd "$root"
pivot_root . media
cd /
umount -l /media
# As any machine has it: credentials are mounted elsewhere and come this way.
mount --make-rshared /
exec env -i PATH=/usr/bin:/bin:/usr/sbin:/sbin LANG=C.UTF-8 container=nbcid-test \
        SYSTEMD_UNIT_PATH=/run/units /lib/systemd/systemd --system --unit=test.target \
        --log-target=console --log-level=warning --show-status=no
