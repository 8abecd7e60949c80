# Shared by the scripts of this folder. Source it; it defines names and changes nothing.

skerry_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
skerry_cache=${SKERRY_CACHE:-$skerry_root/.cache}
skerry_preset=${SKERRY_PRESET:-release}
skerry_bin=$skerry_root/build/$skerry_preset/bin
torch_wanted=2.13.0        # what pip is asked for
torch_least=2.7            # what a folder named by the user must have at least
cpu_index=https://download.pytorch.org/whl/cpu

say() { printf '%s\n' "$*" >&2; }

# die CODE EXIT WHAT [FIX]: one shape for all errors, as the programs print them.
die() {
    printf 'error[%s]: %s\n' "$1" "$3" >&2
    if [ -n "${4:-}" ]; then printf 'fix:   %s\n' "$4" >&2; fi
    exit "$2"
}

# need_space MB WHAT: a linker that runs out of disk after ten minutes says less, and later.
need_space() {
    local free
    free=$(df -Pm "$skerry_root" | awk 'NR == 2 { print $4 }')
    [ "$free" -ge "$1" ] || die DISK_FULL 13 "$2 takes about $1 MB below $skerry_root; $free MB are free there" \
        "make room, or check out where there is some"
}

# Python of the virtual environment, or the one SKERRY_PYTHON names.
skerry_python() { printf '%s' "${SKERRY_PYTHON:-$skerry_root/.venv/bin/python}"; }

# Parallel compile jobs: a file that includes libtorch needs well over 1 GB.
build_jobs() {
    local cores free_gib
    cores=$(nproc)
    free_gib=$(awk '/MemAvailable/ { print int($2 / 1572864) }' /proc/meminfo)
    if [ "$free_gib" -lt 1 ]; then free_gib=1; fi
    if [ "$free_gib" -lt "$cores" ]; then printf '%s' "$free_gib"; else printf '%s' "$cores"; fi
}

# version_at_least HAVE WANT
version_at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# torch_version_of DIR: the version of a libtorch folder, or nothing.
torch_version_of() {
    local header
    for header in "$1"/include/torch/{headeronly,csrc/api/include/torch}/version.h; do
        if grep -qs 'define TORCH_VERSION_MAJOR' "$header"; then break; fi
    done
    if [ ! -f "$header" ]; then return 0; fi
    awk '/#define TORCH_VERSION_MAJOR/ { a = $3 } /#define TORCH_VERSION_MINOR/ { b = $3 }
         /#define TORCH_VERSION_PATCH/ { c = $3 } END { print a "." b "." c }' "$header"
}

# torch_dir: the libtorch folder in force: --torch or SKERRY_TORCH, else what the last setup recorded.
torch_dir() {
    if [ -n "${SKERRY_TORCH:-}" ]; then printf '%s' "$SKERRY_TORCH"; return; fi
    if [ -f "$skerry_cache/torch-dir" ]; then cat "$skerry_cache/torch-dir"; fi
}
