# `edgestill deploy` against a real sshd on loopback: fresh, unchanged, changed, interrupted at random points, disk full, a failing
# self-test with rollback, list and rollback by hand. The bundle is a random model's, made by build/tests' own tiny project.
. "$(dirname "$0")/../lib.sh"

sshd=$(command -v sshd || echo /usr/sbin/sshd)
if [ ! -x "$sshd" ]; then skip "deploy" "there is no sshd (package openssh-server)"; exit 0; fi
maker=$build/tests/deliver/make_project
if [ ! -x "$maker" ]; then not_ok "tests/deliver/make_project is not built"; exit 0; fi

# ---- a server of its own: port, keys and home below $work, nothing of the system's ----
mkdir -p ssh home bin
ssh-keygen -q -t ed25519 -N '' -f ssh/host
ssh-keygen -q -t ed25519 -N '' -f ssh/user
cp ssh/user.pub ssh/authorized
chmod 700 ssh && chmod 600 ssh/*
port=$((20000 + $$ % 20000))
cat >ssh/sshd_config <<EOT
Port $port
ListenAddress 127.0.0.1
HostKey $work/ssh/host
AuthorizedKeysFile $work/ssh/authorized
PidFile $work/ssh/pid
StrictModes no
UsePAM no
PasswordAuthentication no
SetEnv EDGESTILL_ROOT=$work/root HOME=$work/home PATH=$work/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin
ForceCommand cd "\$HOME" && exec /bin/sh -c "\$SSH_ORIGINAL_COMMAND"
EOT
sed "s/^Port .*/Port $((port + 1))/; s|^PidFile.*|PidFile $work/ssh/jump-pid|" ssh/sshd_config >ssh/jump_config
cat >ssh/config <<EOT
Host behind
    ProxyJump jump
Host jump
    Port $((port + 1))
Host jump behind
    HostName 127.0.0.1
    User $(id -un)
    IdentityFile $work/ssh/user
    IdentitiesOnly yes
    UserKnownHostsFile $work/ssh/known
    StrictHostKeyChecking accept-new
Host behind
    Port $port
Host device
    HostName 127.0.0.1
    Port $port
    User $(id -un)
    IdentityFile $work/ssh/user
    IdentitiesOnly yes
    UserKnownHostsFile $work/ssh/known
    StrictHostKeyChecking accept-new
EOT
[ "$(id -u)" != 0 ] || mkdir -p /run/sshd
"$sshd" -f "$work/ssh/sshd_config" -E "$work/ssh/log"
"$sshd" -f "$work/ssh/jump_config" -E "$work/ssh/jump-log"
server_stop() {
    local rc=$?
    for pid in pid jump-pid; do [ ! -s "$work/ssh/$pid" ] || kill "$(cat "$work/ssh/$pid")" 2>/dev/null; done
    umount "$work/small" 2>/dev/null
    (exit $rc)
    test_finish
}
trap server_stop EXIT
export EDGESTILL_SSH="ssh -F $work/ssh/config"
for _ in $(seq 100); do $EDGESTILL_SSH device true 2>/dev/null && break; sleep 0.1; done
if ! $EDGESTILL_SSH device true 2>"$err"; then skip "deploy" "sshd does not serve here: $(tail -n 1 "$err")"; exit 0; fi

# ---- a project with a bundle for this machine ----
if ! "$maker" p >"$out" 2>"$err"; then skip "deploy" "$(tail -n 1 "$out") $(tail -n 1 "$err")"; exit 0; fi
there=home/edgestill/tiny-claims
deploy() { "$EDGESTILL" deploy device -C p --rows 2 "$@"; }
current() { readlink "$there/current"; }

expect 0 "a fresh deployment" deploy --json
json "every file was copied" "$out" '.ok and .copied_files == .files and .receipt.selftest.passed and .device.arch == "amd64"'
check "the version is in use" test -x "$there/current/run"
check "the receipt came home" test -s p/receipts/tiny-claims-amd64-device.json
check "what is there is what was bundled" diff -r p/dist/tiny-claims-amd64 "$there/current"
first=$(current)

expect 0 "unchanged" deploy --json
json "nothing is copied" "$out" '.copied_files == 0 and .copied_bytes == 0 and .receipt.selftest.passed'
equal "the same version is in use" "$(current)" "$first"

expect 0 "by way of a jump host that ~/.ssh/config names" "$EDGESTILL" deploy behind -C p --rows 2 --json
json "it is the same device" "$out" '.copied_files == 0 and .receipt.selftest.passed'
has "the jump host let it through" ssh/jump-log "Accepted publickey"

# a change of one text copies that text and the list, and the model is not sent again
change() {
    printf '%s\n' "$1" >>p/dist/tiny-claims-amd64/README.md
    sum=$(sha256sum <p/dist/tiny-claims-amd64/README.md | cut -c1-64)
    sed -i -E "s/(\"README.md\": \")[0-9a-f]{64}/\1$sum/" p/dist/tiny-claims-amd64/bundle.json
}
change 'Another line.'
expect 0 "a changed text" deploy --json
json "two files are copied" "$out" '.copied_files == 2'
second=$(current)
equal "the version before is kept" "$(readlink "$there/previous")" "$first"

expect 0 "list" deploy --list
has "the list marks the current version" "$out" "* ${second#versions/} self-test passed"
has "the list marks the version before" "$out" "- ${first#versions/} self-test passed"
expect 0 "list as JSON" deploy --list --json
json "it names both" "$out" '[.versions[] | select(.current or .previous)] | length == 2'
expect 0 "rollback" deploy --rollback
equal "rollback goes back" "$(current)" "$first"
expect 0 "rollback again" deploy --rollback
equal "rollback twice goes forward" "$(current)" "$second"

# ---- interrupted at random points: the version in use stays, and the command goes on ----
rm -rf "$there"
mkdir -p "$there"
bytes_there() { find "$there" -type f -printf '%s\n' 2>/dev/null | awk '{ n += $1 } END { print n + 0 }'; }
cuts=0 resumed=0
for i in 1 2 3 4 5 6; do
    "$EDGESTILL" deploy device -C p --rows 2 --json >cut.json 2>cut.err &
    pid=$!
    before=$(bytes_there)
    # until some more bytes have arrived, another number each time
    for _ in $(seq 300); do
        [ "$(bytes_there)" -ge $((before + RANDOM * 150)) ] && break
        kill -0 $pid 2>/dev/null || break
        sleep 0.02
    done
    kill -9 $pid 2>/dev/null && cuts=$((cuts + 1))
    wait $pid 2>/dev/null
    [ ! -e "$there/current" ] || break
    [ "$before" = 0 ] || resumed=$((resumed + 1))
done
check "it was cut off at least twice ($cuts), and went on ($resumed)" test "$cuts" -ge 2
expect 0 "after the interruptions" deploy --json
json "only the rest was copied" "$out" '.copied_files < .files or .copied_bytes < 20000000'
check "what is there is whole" diff -r p/dist/tiny-claims-amd64 "$there/current"
second=$(current)

# ---- the self-test fails: the version before stays in use, and the new one goes ----
cp -R p/dist/tiny-claims-amd64 good
sed -i -E 's/"limit_bytes": [0-9]+/"limit_bytes": 1000000/' p/dist/tiny-claims-amd64/bundle.json
expect 1 "a failing self-test" deploy --json
json "it says that the version before is in use" "$out" '.ok == false and .rolled_back and .error.code == "MISMATCH" and (.receipt.selftest.passed | not)'
equal "the version before is in use" "$(current)" "$second"
equal "the failed one is gone" "$(ls "$there/versions" | wc -l)" 1
sed -i -E 's/"format": "edgestill.bundle.1"/"format": "edgestill.bundle\/9"/' p/dist/tiny-claims-amd64/bundle.json
expect 1 "a self-test that ends before its receipt" deploy --json
json "an older receipt is not shown as its own" "$out" '.rolled_back and (has("receipt") | not) and (.error.hint | contains("receipts") | not)'
rm -rf p/dist/tiny-claims-amd64 && mv good p/dist/tiny-claims-amd64

# ---- the version in use: damaged since it is made whole, and when it fails itself nobody says that another is in use ----
rm "$there/current/README.md" && echo torn >"$there/current/README.md"
expect 0 "a file was damaged there" deploy --json
json "it alone is copied" "$out" '.copied_files == 1 and .receipt.selftest.passed'
check "what is there is whole again" diff -r p/dist/tiny-claims-amd64 "$there/current"
equal "in its place" "$(current) $(ls "$there/versions" | wc -l)" "$second 1"
printf '#!/bin/sh\ncase $* in *selftest*) exit 1 ;; esac\nexec /usr/bin/dirname "$@"\n' >bin/dirname && chmod +x bin/dirname
expect 1 "the version in use fails" deploy --json
json "it says that it is the one in use" "$out" '(.rolled_back | not) and (.error.hint | contains("the version in use"))'
rm bin/dirname
equal "and leaves it" "$(current)" "$second"


# ---- as a service (below a folder of its own: this machine's systemd is left alone) ----
expect 0 "as a service" deploy --json --service
check "it is installed" test -x root/opt/edgestill/tiny-claims/run -a -s root/etc/systemd/system/edgestill-tiny-claims.service
check "it is the version in use" diff -r "$there/current" root/opt/edgestill/tiny-claims
change 'A service that cannot be installed.'
mv root installed && : >root
expect 1 "a service that does not come up" deploy --json --service
json "it says so" "$out" '.rolled_back and (.error.message | contains("service"))'
equal "the version before is in use" "$(current)" "$second"
rm root && mv installed root
expect 0 "the next deployment" deploy
has "it says that the service is another version" "$out" "goes on with the version"
second=$(current)

# ---- disk full: noticed before (df tells), and in the middle (df lies) ----
mkdir small
if mount -t tmpfs -o size=20m tmpfs small 2>/dev/null; then
    expect 1 "too small a disk" deploy --json --folder "$work/small/edgestill"
    json "it is refused before anything is copied" "$out" '.error.code == "NO_SPACE" and .copied_files == 0'
    printf '#!/bin/sh\necho Filesystem\necho "tmpfs 9999999 1 9999998 1%% /"\n' >bin/df
    chmod +x bin/df
    expect 1 "a disk that fills up" deploy --json --folder "$work/small/edgestill"
    json "it says so, and what to do" "$out" '.error.code == "NO_SPACE" and .copied_files > 0 and (.error.hint | contains("repeat"))'
    mount -o remount,size=200m "$work/small"
    expect 0 "with room it goes on" deploy --json --folder "$work/small/edgestill"
    json "from where it was" "$out" '.copied_files < .files'
    umount small
else
    skip "disk full" "no tmpfs can be mounted here"
fi

# ---- what is refused ----
expect 2 "an option as a host" "$EDGESTILL" deploy -C p -- -oProxyCommand=x
expect 2 "a folder that a shell could misread" deploy --folder 'a;b'
expect 2 "a quote that is not closed" deploy --ssh "ssh -F '$work/ssh/config"
has "it says what is meant" "$err" 'is no command for ssh'
expect 0 "a jump by a command in quotes" deploy --list --ssh "ssh -F $work/ssh/config -o 'ProxyCommand=ssh -F $work/ssh/config -W %h:%p jump'"
expect 2 "no folder at all, which would be the topmost" deploy --folder ''
expect 1 "a host that is not there" env EDGESTILL_SSH="ssh -F $work/ssh/config -o ConnectTimeout=2 -p 1" "$EDGESTILL" deploy device -C p
mkdir -p fake && printf '#!/bin/sh\n[ "$1" = -m ] && echo riscv64 || echo Linux 6\n' >bin/uname && chmod +x bin/uname
expect 2 "another architecture" deploy
has "it says how to bundle for it" "$err" "--arch riscv64"
for kernel in 'Linux 2.6.32' 'Linux 3.1.9' 'FreeBSD 14.1'; do
    printf '#!/bin/sh\n[ "$1" = -m ] && echo x86_64 || echo "%s"\n' "$kernel" >bin/uname
    expect 1 "$kernel" deploy
    has "it says which kernel is needed" "$err" "$kernel, and the bundle's programs need Linux 3.2 or newer"
done
rm bin/uname
printf '#!/bin/sh\ncase "$*" in *MemTotal*) echo memory_kb=9000; echo available_kb=8000 ;; *) exec /usr/bin/sed "$@" ;; esac\n' >bin/sed
chmod +x bin/sed
expect 1 "too little memory" deploy
has "it says how much the plan needs, and how to need less" "$err" "edgestill plan --max-memory"
rm bin/sed
