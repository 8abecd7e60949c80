#!/usr/bin/env bash
# Installs what is missing to build and run Skerry on Debian 12. Safe to run again: the second time
# takes well under two seconds. See --help.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
    cat <<'TEXT'
usage: deploy/setup.sh [--tests | --show] [--torch DIR] [--allow-cuda] [--replace-boost] [--quiet]

Installs, where missing: Debian packages (needs root, or prints the line to run), and PyTorch's CPU
wheel in the virtual environment .venv of this checkout. Says what it downloads and how much first.

  --tests          also what the tests compare with: numpy, safetensors, transformers, tokenizers
  --show           that, and what deploy/show.sh needs: iproute2, nftables
  --torch DIR      use this libtorch folder (with include/ and lib/) and install no wheel;
                   the same as SKERRY_TORCH=DIR
  --allow-cuda     accept a wheel that brings CUDA packages (several gigabytes)
  --replace-boost  let apt remove the Boost 1.74 headers: libboost1.81-dev excludes them
  --quiet          say nothing when there is nothing to do

SKERRY_PYTHON=FILE names a Python that already has torch (and for --tests the rest); then nothing is
installed by pip.
TEXT
}

tests=no show=no allow_cuda=no replace_boost=no quiet=no
while [ $# -gt 0 ]; do
    case $1 in
        --tests) tests=yes ;;
        --show) tests=yes show=yes ;;
        --torch) SKERRY_TORCH=${2:?--torch needs a folder}; shift ;;
        --allow-cuda) allow_cuda=yes ;;
        --replace-boost) replace_boost=yes ;;
        --quiet) quiet=yes ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; die USAGE 2 "unknown option $1" ;;
    esac
    shift
done

packages=(g++ cmake ninja-build ccache pkg-config git ca-certificates
    libboost1.81-dev libzmq3-dev libprotobuf-dev protobuf-compiler libssl-dev libsqlite3-dev
    libexpected-dev libtomlplusplus-dev libcli11-dev libspdlog-dev libfmt-dev nlohmann-json3-dev
    libpcre2-dev libutf8proc-dev libgtest-dev libgmock-dev python3 python3-venv)
if [ "$tests" = yes ]; then packages+=(openssl); fi
if [ "$show" = yes ]; then packages+=(iproute2 nftables); fi

# --- Debian packages ---------------------------------------------------------------------------

missing_packages() {
    local installed
    installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "${packages[@]}" 2>/dev/null |
        awk '$1 == "installed" { print $2 }' || true)
    local p
    for p in "${packages[@]}"; do
        if ! grep -qxF "$p" <<<"$installed"; then printf '%s ' "$p"; fi
    done
}

# libboost1.81-dev conflicts with the 1.74 headers. Removing somebody's packages needs their word.
check_boost() {
    local other
    other=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' 'libboost1.74-dev' 'libboost-dev' \
        2>/dev/null | awk '$1 == "installed" { printf "%s ", $2 }' || true)
    if [ -n "$other" ] && [ "$replace_boost" = no ]; then
        die BOOST_CONFLICT 13 \
            "Skerry needs libboost1.81-dev, which Debian does not install beside ${other}(it would remove them and what needs them)" \
            "deploy/setup.sh --replace-boost   (as root; or remove them yourself first)"
    fi
}

install_packages() {
    local missing=$1 line
    line="apt-get install -y --no-install-recommends $missing"
    if ! command -v apt-get >/dev/null; then
        die NOT_DEBIAN 13 "this system has no apt-get; missing (by their Debian names): $missing" \
            "install their like by hand, then run cmake as CONTRIBUTING.md shows"
    fi
    case " $missing" in *" libboost1.81-dev "*) check_boost ;; esac
    if [ "$(id -u)" != 0 ]; then
        die PACKAGES_MISSING 13 "Debian packages are missing: $missing" "sudo $line"
    fi
    say "setup: missing Debian packages: $missing"
    if [ -z "$(find /var/lib/apt/lists -maxdepth 1 -name '*Packages*' -print -quit 2>/dev/null)" ]; then
        apt-get update -q >&2
    fi
    # Apt itself prints "Need to get N MB of archives".
    if ! DEBIAN_FRONTEND=noninteractive $line >&2; then
        say "setup: the package lists may be old; reading them again"
        apt-get update -q >&2 || die APT 10 "apt-get update failed" "look at the lines above; is the network there?"
        DEBIAN_FRONTEND=noninteractive $line >&2 || die APT 10 "apt-get install failed" "run by hand: $line"
    fi
}

missing=$(missing_packages)
if [ -n "$missing" ]; then install_packages "$missing"; fi

cmake_version=$(cmake --version | awk 'NR == 1 { print $3 }')
version_at_least "$cmake_version" 3.25 ||
    die CMAKE_TOO_OLD 13 "cmake $cmake_version is older than 3.25" "use Debian 12's cmake (is another one first in PATH?)"

# --- libtorch and Python packages --------------------------------------------------------------

mkdir -p "$skerry_cache"

check_torch_dir() {
    local dir=$1 version
    [ -e "$dir/lib/libtorch_cpu.so" ] || die NO_LIBTORCH 12 "no libtorch in $dir (lib/libtorch_cpu.so is not there)" \
        "name the folder that holds include/ and lib/ (in a wheel: site-packages/torch), or leave --torch away"
    version=$(torch_version_of "$dir")
    [ -n "$version" ] || die NO_LIBTORCH 12 "no libtorch headers in $dir" "name a folder with include/ as well"
    version_at_least "$version" "$torch_least" ||
        die NO_LIBTORCH 12 "libtorch $version in $dir is older than $torch_least" "leave --torch away; setup installs $torch_wanted"
    printf '%s' "$version"
}

venv=$skerry_root/.venv
python=$(skerry_python)

make_venv() {
    if [ -x "$venv/bin/python" ] && "$venv/bin/python" -c 'import pip' 2>/dev/null; then return; fi
    say "setup: making the virtual environment $venv"
    need_space 1500 "Python with PyTorch"
    rm -rf "$venv"
    /usr/bin/python3 -m venv "$venv" || python3 -m venv "$venv"
    # An old pip downloads whole wheels only to look at them; a new one reads their metadata (2 MB).
    "$venv/bin/pip" install -q --upgrade pip || say "setup: pip could not be renewed; going on with the old one"
}

# pip_get REQUIREMENT...: looks first at what pip would install, says it, refuses CUDA, installs.
pip_get() {
    local report=$skerry_cache/pip-report.json allow=()
    if [ "$allow_cuda" = yes ]; then allow=(--allow-cuda); fi
    "$venv/bin/pip" install -q --dry-run --report "$report" "$@" 2>"$skerry_cache/pip.log" || {
        tail -n 5 "$skerry_cache/pip.log" >&2
        return 10
    }
    "$venv/bin/python" "$skerry_root/deploy/pip_plan.py" "${allow[@]}" "$report" || return $?
    "$venv/bin/pip" install -q "$@" 2>"$skerry_cache/pip.log" || {
        tail -n 5 "$skerry_cache/pip.log" >&2
        return 10
    }
}

get_torch() {
    local rc=0 only_cuda=no
    pip_get "torch==$torch_wanted" numpy || rc=$?
    if [ "$rc" = 3 ]; then
        say "setup: that wheel would bring CUDA; asking PyTorch's CPU index instead: $cpu_index"
        rc=0 only_cuda=yes
        pip_get --extra-index-url "$cpu_index" "torch==$torch_wanted+cpu" numpy || rc=$?
    fi
    case $rc in
        0) ;;
        3) die CUDA_UNASKED 13 "pip would install CUDA packages" \
            "deploy/setup.sh --allow-cuda, or --torch DIR, or set PIP_INDEX_URL to an index with CPU wheels" ;;
        *)
            [ "$only_cuda" = no ] || die NO_LIBTORCH 12 "your package index has torch $torch_wanted with CUDA only, and $cpu_index did not answer" \
                "deploy/setup.sh --torch DIR (a libtorch you have), or --allow-cuda (gigabytes), or PIP_INDEX_URL=an index with CPU wheels"
            die NO_LIBTORCH 12 "pip could not install torch $torch_wanted (python $("$venv/bin/python" -V | cut -d' ' -f2))" \
            "check the network; or download libtorch yourself ($cpu_index) and give --torch DIR" ;;
    esac
}

# Importing torch takes seconds; its folder and version can be read without.
installed() {
    "$python" - "$@" <<'PY'
import importlib.metadata as metadata, sys
try:
    print(*(metadata.version(name) for name in sys.argv[1:]))
except metadata.PackageNotFoundError:
    sys.exit(1)
PY
}

if [ -n "${SKERRY_TORCH:-}" ]; then
    SKERRY_TORCH=$(cd "$SKERRY_TORCH" 2>/dev/null && pwd) ||
        die NO_LIBTORCH 12 "the folder named for libtorch does not exist" "check --torch or SKERRY_TORCH"
fi

need_python_torch=no
if [ -z "${SKERRY_TORCH:-}" ] || [ "$tests" = yes ]; then need_python_torch=yes; fi

if [ "$need_python_torch" = yes ]; then
    if [ -n "${SKERRY_PYTHON:-}" ]; then
        installed torch numpy >/dev/null || die NO_LIBTORCH 12 "$SKERRY_PYTHON has no torch and numpy" "unset SKERRY_PYTHON; setup makes its own"
    else
        make_venv
        have=$(installed torch numpy || true)
        if [ -z "$have" ] || ! version_at_least "${have%%[+ ]*}" "$torch_least"; then get_torch; fi
        if [ "$tests" = yes ] && ! installed safetensors transformers tokenizers >/dev/null; then
            printf 'torch==%s\n' "$(installed torch)" >"$skerry_cache/constraints.txt"
            pip_get --constraint "$skerry_cache/constraints.txt" safetensors transformers tokenizers ||
                die PIP 10 "pip could not install safetensors, transformers and tokenizers" "check the network, run it again"
        fi
    fi
fi

torch=${SKERRY_TORCH:-$("$python" -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])')}
version=$(check_torch_dir "$torch")
printf '%s' "$torch" >"$skerry_cache/torch-dir"
if [ "$quiet" = no ]; then say "setup: ready. libtorch $version in $torch"; fi
