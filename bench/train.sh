#!/bin/bash
# bench-train: installs what is only compared with, Debian's python3-torch, where that is possible, then measures. Without it
# figure 2.3 is skipped and says so. TRAIN_TORCH=0 leaves it out.
set -euo pipefail

torch_is_there() { /usr/bin/python3 -c 'import torch' >/dev/null 2>&1; }

if [ "${TRAIN_TORCH:-1}" != 0 ] && [ "${EDGESTILL_NO_SETUP:-}" != 1 ] && ! torch_is_there && command -v apt-get >/dev/null; then
    as_root=; [ "$(id -u)" = 0 ] || as_root=sudo
    echo "bench: installing python3-torch (to be compared with)" >&2
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -q --no-install-recommends python3-torch >/dev/null 2>&1 ||
        echo "bench: python3-torch could not be installed; its figures are left out" >&2
fi
exec "${EDGESTILL_BUILD:-build}/bench/train" "$@"
