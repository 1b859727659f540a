/* What deploy runs on the device: POSIX sh with the tools of any small Linux (busybox will do). $1 is the folder of the task there.
 * A file list on standard input is lines "SHA256 SIZE x|- NAME". */
#ifndef DELIVER_DEPLOY_SCRIPT_H
#define DELIVER_DEPLOY_SCRIPT_H

/* Exit status 3: the disk is full; 4: a file is damaged; 5: there is no previous version. */

#define DEPLOY_PROBE                                                                                         \
    "d=$1\n"                                                                                                 \
    "echo \"arch=$(uname -m)\"\n"                                                                            \
    "echo \"kernel=$(uname -sr)\"\n"                                                                         \
    "[ -r /proc/device-tree/model ] && echo \"model=$(tr -d '\\0' </proc/device-tree/model)\"\n"             \
    "sed -n 's/^MemTotal: *\\([0-9]*\\).*/memory_kb=\\1/p; s/^MemAvailable: "                                \
    "*\\([0-9]*\\).*/available_kb=\\1/p' /proc/meminfo\n"                                                    \
    "mkdir -p \"$d/versions\" \"$d/receipts\" || exit 3\n"                                                   \
    "df -Pk \"$d\" | sed -n '2s/.* \\([0-9][0-9]*\\)  *[0-9][0-9]*%.*/free_kb=\\1/p'\n"                      \
    "echo \"current=$(readlink \"$d/current\")\"\n"                                                          \
    "echo \"previous=$(readlink \"$d/previous\")\"\n"                                                        \
    "for t in sha256sum ln dirname; do command -v $t >/dev/null || echo \"missing=$t\"; done\n"              \
    "[ -e \"${EDGESTILL_ROOT:-}/etc/systemd/system/edgestill-$(basename \"$d\").service\" ] && echo "        \
    "service=1\n"                                                                                            \
    "exit 0"

/* $2 ID. Takes over what is there already; prints "there", or "need OFFSET NAME" a file. A version of which a file was damaged since is
 * put together anew from those that were not. */
#define DEPLOY_HAVE                                                                                          \
    "d=$1 p=$1/versions/$2.part w=$1/versions/$2 list=$(cat)\n"                                              \
    "sum() { sha256sum <\"$1\" | cut -c1-64; }\n"                                                            \
    "whole() {\n"                                                                                            \
    "    while read -r sha size x name; do\n"                                                                \
    "        [ -f \"$w/$name\" ] && [ \"$(sum \"$w/$name\")\" = \"$sha\" ] || return 1\n"                    \
    "    done\n"                                                                                             \
    "}\n"                                                                                                    \
    "[ -d \"$w\" ] && printf '%s\\n' \"$list\" | whole && { echo there; exit 0; }\n"                         \
    "mkdir -p \"$p\" || exit 3\n"                                                                            \
    "for o in \"$d\"/versions/*.part; do [ \"$o\" = \"$p\" ] || rm -rf \"$o\"; done\n"                       \
    "printf '%s\\n' \"$list\" | while read -r sha size x name; do\n"                                         \
    "    f=$p/$name\n"                                                                                       \
    "    if [ -f \"$f\" ]; then [ \"$(sum \"$f\")\" = \"$sha\" ] && continue; rm -f \"$f\"; fi\n"            \
    "    mkdir -p \"$(dirname \"$f\")\" || exit 3\n"                                                         \
    "    for v in \"$w\" \"$d/current\" \"$d/previous\"; do\n"                                               \
    "        g=$v/$name\n"                                                                                   \
    "        if [ -f \"$g\" ] && [ \"$(sum \"$g\")\" = \"$sha\" ]; then\n"                                   \
    "            ln \"$g\" \"$f\" 2>/dev/null || cp -p \"$g\" \"$f\" || exit 3\n"                            \
    "            rm -f \"$f.partial\"\n"                                                                     \
    "            break\n"                                                                                    \
    "        fi\n"                                                                                           \
    "    done\n"                                                                                             \
    "    [ -f \"$f\" ] && continue\n"                                                                        \
    "    n=0\n"                                                                                              \
    "    [ -f \"$f.partial\" ] && n=$(($(wc -c <\"$f.partial\")))\n"                                         \
    "    if [ \"$n\" -ge \"$size\" ]; then rm -f \"$f.partial\"; n=0; fi\n"                                  \
    "    echo \"need $n $name\"\n"                                                                           \
    "done"

/* $2 ID, $3 name, $4 SHA-256, $5 size; the bytes on standard input. Whole and right, it gets its name. */
#define DEPLOY_TAKE                                                                                          \
    "f=$1/versions/$2.part/$3\n"                                                                             \
    "cat >>\"$f.partial\" || exit 3\n"                                                                       \
    "[ $(($(wc -c <\"$f.partial\"))) = \"$5\" ] || exit 4\n"                                                 \
    "if [ \"$(sha256sum <\"$f.partial\" | cut -c1-64)\" != \"$4\" ]; then rm -f \"$f.partial\"; exit 4; "    \
    "fi\n"                                                                                                   \
    "mv -f \"$f.partial\" \"$f\""

/* $2 ID. Modes, then the version gets its name; a damaged one of that name makes room. */
#define DEPLOY_FINISH                                                                                        \
    "d=$1 p=$1/versions/$2.part\n"                                                                           \
    "while read -r sha size x name; do\n"                                                                    \
    "    m=644; [ \"$x\" = x ] && m=755\n"                                                                   \
    "    chmod $m \"$p/$name\" || exit 4\n"                                                                  \
    "done\n"                                                                                                 \
    "sync\n"                                                                                                 \
    "w=$d/versions/$2\n"                                                                                     \
    "rm -rf \"$w.old\"\n"                                                                                    \
    "if [ -e \"$w\" ]; then mv \"$w\" \"$w.old\" || exit 1; fi\n"                                            \
    "mv \"$p\" \"$w\" || exit 1\n"                                                                           \
    "rm -rf \"$w.old\""

/* $2 ID, $3 rows or "". A running service makes room, and is started again when this ends. */
#define DEPLOY_SELFTEST                                                                                      \
    "d=$1 u=edgestill-$(basename \"$1\").service s='sudo -n'\n"                                              \
    "[ \"$(id -u)\" = 0 ] && s=\n"                                                                           \
    "if command -v systemctl >/dev/null && systemctl is-active --quiet \"$u\" 2>/dev/null; then\n"           \
    "    $s systemctl stop \"$u\" && trap '$s systemctl start \"$u\"' EXIT\n"                                \
    "fi\n"                                                                                                   \
    "rm -f \"$d/receipts/$2.json\"\n"                                                                        \
    "\"$d/versions/$2/selftest\" ${3:+--rows \"$3\"} --receipt \"$d/receipts/$2.json\" 2>&1"

#define DEPLOY_LINK                                                                                          \
    "link() { ln -sfn \"$1\" \"$2.new\" && mv -fT \"$2.new\" \"$2\" 2>/dev/null || { rm -f \"$2.new\"; ln "  \
    "-sfn \"$1\" "                                                                                           \
    "\"$2\"; }; }\n"

/* $2 ID. Other versions than these two are taken away. */
#define DEPLOY_SWITCH                                                                                        \
    DEPLOY_LINK "cd \"$1\" || exit 1\n"                                                                      \
                "old=$(readlink current)\n"                                                                  \
                "if [ \"$old\" != \"versions/$2\" ]; then\n"                                                 \
                "    [ -z \"$old\" ] || link \"$old\" previous\n"                                            \
                "    link \"versions/$2\" current || exit 1\n"                                               \
                "fi\n"                                                                                       \
                "for v in versions/*; do\n"                                                                  \
                "    [ \"$v\" = \"$(readlink current)\" ] || [ \"$v\" = \"$(readlink previous)\" ] || rm "   \
                "-rf \"$v\"\n"                                                                               \
                "done"

/* $2 ID: it did not prove itself, and unless it is in use it goes. */
#define DEPLOY_DROP                                                                                          \
    "cd \"$1\" && { [ \"$(readlink current)\" = \"versions/$2\" ] || [ \"$(readlink previous)\" = "          \
    "\"versions/$2\" ] || "                                                                                  \
    "rm -rf \"versions/$2\"; }"

/* The service of the current version; when it does not come up, that of the version before. */
#define DEPLOY_SERVICE                                                                                       \
    "s='sudo -n'\n"                                                                                          \
    "[ \"$(id -u)\" = 0 ] && s=\n"                                                                           \
    "$s \"$1/current/install\" 2>&1 && exit 0\n"                                                             \
    "[ -e \"$1/previous/install\" ] && $s \"$1/previous/install\" 2>&1\n"                                    \
    "exit 6"

#define DEPLOY_BACK                                                                                          \
    DEPLOY_LINK "cd \"$1\" || exit 5\n"                                                                      \
                "p=$(readlink previous) c=$(readlink current)\n"                                             \
                "[ -n \"$p\" ] && [ -d \"$p\" ] || exit 5\n"                                                 \
                "link \"$p\" current && link \"$c\" previous || exit 1\n"                                    \
                "if [ -e \"${EDGESTILL_ROOT:-}/etc/systemd/system/edgestill-$(basename \"$1\").service\" "   \
                "]; then\n"                                                                                  \
                "    s='sudo -n'; [ \"$(id -u)\" = 0 ] && s=\n"                                              \
                "    $s ./current/install 2>&1 || exit 6\n"                                                  \
                "fi"

#define DEPLOY_LIST                                                                                          \
    "cd \"$1\" 2>/dev/null || exit 0\n"                                                                      \
    "for v in versions/*; do\n"                                                                              \
    "    [ -d \"$v\" ] || continue\n"                                                                        \
    "    m=' '\n"                                                                                            \
    "    [ \"$v\" = \"$(readlink previous)\" ] && m=-\n"                                                     \
    "    [ \"$v\" = \"$(readlink current)\" ] && m='*'\n"                                                    \
    "    r=receipts/${v#versions/}.json t='not tested'\n"                                                    \
    "    [ -f \"$r\" ] && grep -q '\"passed\": *true' \"$r\" && t='self-test passed'\n"                      \
    "    case $v in *.part) t='not whole' ;; esac\n"                                                         \
    "    echo \"$m ${v#versions/} $t\"\n"                                                                    \
    "done"

#endif
