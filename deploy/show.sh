#!/usr/bin/env bash
# Shows what Skerry promises: one line for each item with its value and its bar, then "N ok, N FAIL".
# usage: deploy/show.sh [--only N] [--no-setup]      Needs root (namespaces, full disks). Takes some hours; one item, minutes.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

show=() do_setup=yes
while [ $# -gt 0 ]; do
    case $1 in
        --only) show+=(--only "${2:?--only needs a number}"); shift ;;
        --verbose) show+=(--verbose) ;;
        --no-setup) do_setup=no ;;
        -h | --help) sed -n '2,3s/^# //p' "$0"; exit 0 ;;
        *) die USAGE 2 "unknown option $1" "deploy/show.sh --help" ;;
    esac
    shift
done

python=$(skerry_python)
export SKERRY_PYTHON=$python
if [ "$do_setup" = yes ]; then
    "$skerry_root/deploy/setup.sh" --show --quiet
    "$skerry_root/deploy/build.sh" all
    python3 "$skerry_root/deploy/get_text.py" --out "$skerry_cache/text"
fi
cd "$skerry_root"
exec "$python" deploy/show/show.py "${show[@]}"
