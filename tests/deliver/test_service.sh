#!/bin/bash
# The bundle's service under a real systemd: process 1 of namespaces and control groups of its own, over this machine's /usr read-only, so that
# nothing here is touched. Installed by the bundle's own script, asked, restarted, killed, stopped and uninstalled. Skipped where
# systemd does not get as far as running a command: that takes root, and a kernel that lets a container have all this.
. "$(dirname "$0")/../lib.sh"

maker=$build/tests/deliver/make_project
systemd=/usr/lib/systemd/systemd
group=edgestill-test-$$
give_up() { skip "a service under systemd" "$1"; exit 0; }
[ -x "$maker" ] || { not_ok "tests/deliver/make_project is not built"; exit 0; }
[ -x "$systemd" ] || give_up "there is no $systemd (package systemd)"
[ "$(id -u)" = 0 ] || give_up "only root can start one"
[ -L /lib ] && [ -L /bin ] || give_up "/lib and /bin are no links into /usr here"
"$maker" p >"$out" 2>"$err" || give_up "$(tail -n 1 "$out") $(tail -n 1 "$err")"

# ---- control groups of its own: process 1 sees them as the whole ----
controllers=$(find /sys/fs/cgroup -mindepth 1 -maxdepth 1 -type d ! -name unified 2>/dev/null | sed 's|.*/||')
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then controllers=.; fi
remove_groups() {
    local c rc=$?
    for c in $controllers; do
        find "/sys/fs/cgroup/$c/$group" -depth -type d -exec rmdir {} \; 2>/dev/null
    done
    (exit "$rc")
    test_finish
}
trap remove_groups EXIT # also what test_finish does
for c in $controllers; do
    mkdir "/sys/fs/cgroup/$c/$group" 2>/dev/null || give_up "no control group can be made in /sys/fs/cgroup/$c"
    if [ "$c" = cpuset ]; then
        for f in cpus mems; do cat "/sys/fs/cgroup/cpuset/cpuset.$f" >"/sys/fs/cgroup/cpuset/$group/cpuset.$f"; done
    fi
done

# ---- what process 1 runs once it is up; every line of `result` is a case below ----
cat >check.sh <<'X'
#!/bin/bash
exec >/srv/result 2>&1
unit=edgestill-tiny-claims here=/opt/edgestill/tiny-claims
show() { systemctl show -p "$1" --value $unit; }
ask() { # PATH [BODY]: the answer's last line, from a service that may still be starting
    local i
    for i in $(seq 100); do
        if exec 3<>/dev/tcp/127.0.0.1/8077; then
            if [ -n "${2:-}" ]; then
                printf 'POST %s HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' "$1" ${#2} "$2" >&3
            else printf 'GET %s HTTP/1.0\r\n\r\n' "$1" >&3
            fi
            tail -n 1 <&3
            exec 3>&-
            return
        fi
        sleep 0.2
    done
} 2>/dev/null
systemctl start able && echo up
/srv/bundle/install >/dev/null && echo installed=yes
echo "health=$(ask /health)"
echo "decision=$(ask /v1/decide '{"delay":3}')"
pid=$(show MainPID)
status() { sed -n "s/^$1:[[:space:]]*\([^[:space:]]*\).*/\1/p" "/proc/$pid/status"; }
echo "user=$(show User) $([ "$(status Uid)" != 0 ] && echo not-root)"
echo "rights=$(status CapEff) $(status NoNewPrivs) $(status Seccomp)"
echo "limit=$(show MemoryMax)"
nsenter -t "$pid" -m touch $here/x 2>/dev/null && echo wrote=folder
nsenter -t "$pid" -m touch /var/x 2>/dev/null && echo wrote=var
kill -9 "$pid" && sleep 6
echo "again=$(ask /health) restarts=$(show NRestarts)"
/srv/bundle/install --listen 127.0.0.1:1 >/srv/refused 2>&1 || echo "refused=$(tail -n 1 /srv/refused)"
/srv/bundle/install --listen 127.0.0.1:8078 >/dev/null
/srv/bundle/install >/srv/kept && echo "kept=$(tail -n 1 /srv/kept)"
systemctl stop $unit && echo "stopped=$(show Result) $(show ExecMainStatus)"
$here/uninstall >/dev/null && [ ! -e $here ] && [ ! -e /etc/systemd/system/$unit.service ] && echo uninstalled=yes
echo end
systemctl --force --force poweroff
X
chmod +x check.sh
cat >check.service <<'X'
[Unit]
Description=check
[Service]
ExecStart=/srv/check.sh
X

# What a container may be denied: then it is not the bundle's fault.
cat >able.service <<'X'
[Unit]
Description=able
[Service]
Type=oneshot
ExecStart=/bin/true
DynamicUser=yes
ProtectSystem=strict
PrivateDevices=yes
PrivateTmp=yes
SystemCallFilter=@system-service
X

# ---- a root of its own ----
cat >boot.sh <<'X'
set -e
R=$1/root controllers=$2
mkdir -p "$R"
mount -t tmpfs -o mode=755 tmpfs "$R"
cd "$R"
mkdir -p usr etc/systemd/system/multi-user.target.wants proc sys dev run tmp var/log var/tmp var/lib opt root srv oldroot
for d in bin sbin lib lib64; do [ -e "/$d" ] && cp -a "/$d" .; done
mount --bind /usr usr && mount -o remount,bind,ro usr
for f in passwd group nsswitch.conf ld.so.cache; do [ -e "/etc/$f" ] && cp "/etc/$f" etc/; done
: >etc/machine-id
mount --bind "$1/shared" srv
cp "$1/check.service" "$1/able.service" etc/systemd/system/
ln -s ../check.service etc/systemd/system/multi-user.target.wants/
ln -s /usr/lib/systemd/system/multi-user.target etc/systemd/system/default.target
for u in getty.target systemd-udevd.service systemd-udev-trigger.service systemd-logind.service systemd-networkd.service ssh.service; do ln -sf /dev/null etc/systemd/system/$u; done
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
for n in null zero full random urandom tty; do cp -a "/dev/$n" dev/; done
mkdir dev/shm dev/pts dev/mqueue dev/hugepages
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx; ln -s /proc/self/fd dev/fd; : >dev/console
mount -t tmpfs tmpfs dev/shm
mount -t mqueue mqueue dev/mqueue
if [ "$controllers" = . ]; then mount -t cgroup2 cgroup2 sys/fs/cgroup
else
    mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
    for c in $controllers; do
        mkdir "sys/fs/cgroup/$c"
        if [ "$c" = systemd ]; then mount -t cgroup -o none,name=systemd cgroup "sys/fs/cgroup/$c"
        else mount -t cgroup -o "$c" cgroup "sys/fs/cgroup/$c"
        fi
    done
fi
pivot_root . oldroot
umount -l /oldroot
ip link set lo up 2>/dev/null || ifconfig lo up
export container=docker
exec /usr/lib/systemd/systemd --log-target=null
X
mkdir shared
cp -a p/dist/tiny-claims-amd64 shared/bundle 2>/dev/null || cp -a p/dist/tiny-claims-arm64 shared/bundle
mv check.sh shared/
timeout -k 2 120 bash -c '
    for c in $2; do echo $$ >"/sys/fs/cgroup/$c/$3/cgroup.procs" || exit; done
    exec unshare -m -p -f -u -i -n -C --propagation private --kill-child=KILL bash boot.sh "$1" "$2"
' boot "$work" "$controllers" "$group" >boot.log 2>&1 </dev/null
grep -q ^up shared/result 2>/dev/null || give_up "systemd does not start in a container here: $(cat shared/result boot.log 2>/dev/null | grep -v '^$' | tail -n 1)"

said() { sed -n "s/^$1=//p" shared/result; }
holds() { # NAME KEY PATTERN
    if [[ $(said "$2") == $3 ]]; then ok "$1"; else not_ok "$1"; sed 's/^/# /' shared/result; fi
}
holds "install starts the service" installed yes
holds "it answers" health '*"status":"ok"*'
holds "it decides" decision '*"label"*'
holds "as a user of its own" user 'edgestill-tiny-claims not-root'
holds "with no rights, none to be had, and system calls filtered" rights '0000000000000000 1 2'
if grep -q ^MemoryMax= shared/bundle/edgestill.service; then
    mb=$(sed -n 's/^MemoryMax=\([0-9]*\)M$/\1/p' shared/bundle/edgestill.service)
    holds "within the plan's memory" limit "$((mb << 20))"
fi
equal "nothing can be written" "$(said wrote)" ""
holds "killed, it comes again" again '*"status":"ok"* restarts=1'
holds "an address that it may not have is a failed start" refused '*does not start*journalctl -u edgestill-tiny-claims*'
holds "installed again it keeps the address" kept '*http://127.0.0.1:8078/health'
holds "stopped, it ends in order" stopped 'success 0'
holds "uninstall leaves nothing" uninstalled yes
