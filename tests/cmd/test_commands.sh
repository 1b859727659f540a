# docs/commands.md is what the program's own tables say. EDGESTILL_UPDATE=1 writes it anew.
. "$(dirname "$0")/../lib.sh"

expect 0 "the tables can be written out" "$EDGESTILL" help --markdown
if [ "${EDGESTILL_UPDATE:-0}" = 1 ]; then
    cp "$out" "$root/docs/commands.md"
fi
if cmp -s "$out" "$root/docs/commands.md"; then ok "docs/commands.md is in step"; else
    not_ok "docs/commands.md is in step"
    echo "# write it anew: build/edgestill help --markdown >docs/commands.md"
    diff "$root/docs/commands.md" "$out" | head -n 10 | sed 's/^/# /'
fi
