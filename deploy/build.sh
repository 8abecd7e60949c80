#!/usr/bin/env bash
# Configures and builds. usage: deploy/build.sh [TARGET...]   (no target: the four programs)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

targets=("$@")
if [ ${#targets[@]} = 0 ]; then targets=(skerry skerry-node skerry-coordinator skerry-trainer); fi

torch=$(torch_dir)
[ -n "$torch" ] || die NO_LIBTORCH 12 "no libtorch is set up" "deploy/setup.sh"
build=$skerry_root/build/$skerry_preset
log=$skerry_cache/build.log
mkdir -p "$skerry_cache"
cd "$skerry_root"
# As the presets say for `cmake --build`: one compiler cache serves every checkout.
export CCACHE_BASEDIR=$skerry_root CCACHE_NOHASHDIR=1

configured=$(sed -n 's/^SKERRY_TORCH:[A-Z]*=//p' "$build/CMakeCache.txt" 2>/dev/null || true)
if [ ! -f "$build/build.ninja" ] || [ "$configured" != "$torch" ]; then
    case " ${targets[*]} " in *" all "*) need_space 1000 "building everything, tests too," ;; *) need_space 600 "building" ;; esac
    say "build: configuring ($skerry_preset)"
    cmake --preset "$skerry_preset" -DSKERRY_TORCH="$torch" -DSKERRY_WITH_TORCH=ON >"$log" 2>&1 || {
        tail -n 30 "$log" >&2
        die CONFIGURE 1 "cmake failed; all of it is in $log"
    }
fi

# Asking ninja first keeps the second run silent.
if ninja -C "$build" -n "${targets[@]}" 2>/dev/null | grep -q 'no work to do'; then exit 0; fi
say "build: compiling with $(build_jobs) jobs (the first time takes some minutes)"
if [ -t 2 ]; then
    nice ninja -C "$build" -j "$(build_jobs)" "${targets[@]}" >&2 || die BUILD 1 "the build failed; see the lines above"
else
    nice ninja -C "$build" -j "$(build_jobs)" "${targets[@]}" >"$log" 2>&1 || {
        grep -A 20 -E 'FAILED|error:' "$log" | head -n 60 >&2
        die BUILD 1 "the build failed; all of it is in $log"
    }
fi
