# The tree keeps its own rules of style (tools/tidy.sh: layers, sizes, formatting).
. "$(dirname "$0")/../lib.sh"

if "$root/tools/tidy.sh" "$root" >"$out" 2>&1; then ok "the tree is tidy"; else
    not_ok "the tree is tidy"
    sed 's/^/# /' "$out" | tail -n 35
fi
