#!/bin/bash
# Runs tests/tensor/test_nodes.c on an emulated machine with two memory nodes (qemu-system-x86_64, two processors a node, Debian's own
# kernel), where the machine at hand has one. Needs the packages qemu-system-x86 and busybox-static; the kernel is fetched by
# apt and only unpacked. Emulation is slow, so nothing is timed: what is checked is where the pages lie.
set -euo pipefail
cd "$(dirname "$0")/.."

for program in qemu-system-x86_64 busybox; do
    command -v $program >/dev/null ||
        { echo "check-nodes: there is no $program (apt install qemu-system-x86 busybox-static)" >&2; exit 1; }
done
test=build/tests/tensor/test_nodes
[ -x $test ] || { echo "check-nodes: there is no $test (make tests)" >&2; exit 1; }
work=build/nodes
rm -rf $work/system
mkdir -p $work/system/{bin,proc,sys,dev}

kernel() { find $work/kernel/boot -name 'vmlinuz-*' 2>/dev/null | sort | tail -1; }
if [ -z "$(kernel)" ]; then
    package=$(apt-cache depends linux-image-cloud-amd64 | awk '$1 == "Depends:" && $2 ~ /^linux-image/ { print $2; exit }')
    (cd $work && apt-get download -q "$package" && dpkg-deb -x "$package"_*.deb kernel && rm -f "$package"_*.deb)
fi

cp "$(command -v busybox)" $work/system/bin/busybox
cp $test $work/system/test_nodes
ldd $test | awk '$3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }' | while read -r library; do
    mkdir -p "$work/system$(dirname "$library")"
    cp -L "$library" "$work/system$library"
done
cat >$work/system/init <<'INIT'
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/test_nodes 2>&1
echo "exit $?"
/bin/busybox poweroff -f
INIT
chmod +x $work/system/init
(cd $work/system && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) >$work/initramfs.gz

timeout 600 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 4 -m 1G -display none -no-reboot -serial stdio -monitor none \
    -object memory-backend-ram,id=m0,size=512M -object memory-backend-ram,id=m1,size=512M \
    -numa node,nodeid=0,cpus=0-1,memdev=m0 -numa node,nodeid=1,cpus=2-3,memdev=m1 \
    -kernel "$(kernel)" -initrd $work/initramfs.gz -append "console=ttyS0 quiet panic=-1" | tr -d '\r' | tee $work/console.txt
grep -q '^exit 0$' $work/console.txt
