#!/usr/bin/env bash
# Trains a small model on English prose: a coordinator and three nodes on this machine. See --help.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
    cat <<'TEXT'
usage: deploy/demo.sh [--tokens N] [--text FILE] [--torch DIR] [--dir FOLDER] [--nodes N] [setup options]

Installs what is missing, builds, and trains for two to three minutes. Everything is under one folder
(.cache/demo); Ctrl-C stops all of it. Run it again as often as you like.

  --tokens N    train on so many tokens (default: what fits in about two minutes, 1.5 to 8 million)
  --text FILE   your own text instead of Jane Austen's novels (64 KiB or more, UTF-8)
  --torch DIR   a libtorch folder instead of PyTorch's CPU wheel
  --dir FOLDER  where the run lives; an earlier demo there is replaced
  --nodes N     how many nodes, 2 to 8 (default 3)
  --plain       lines instead of a live view, on a terminal too
  --no-setup    neither install nor build
  --allow-cuda, --replace-boost   passed to deploy/setup.sh
TEXT
}

setup=() demo=() text=() do_setup=yes
while [ $# -gt 0 ]; do
    case $1 in
        --tokens | --dir | --nodes | --summary) demo+=("$1" "${2:?$1 needs a value}"); shift ;;
        --plain) demo+=("$1") ;;
        --text) text=(--text "${2:?--text needs a file}"); shift ;;
        --torch) export SKERRY_TORCH=${2:?--torch needs a folder}; shift ;;
        --no-setup) do_setup=no ;;
        --allow-cuda | --replace-boost) setup+=("$1") ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; die USAGE 2 "unknown option $1" ;;
    esac
    shift
done

if [ "$do_setup" = yes ]; then
    "$skerry_root/deploy/setup.sh" --quiet "${setup[@]}"
fi
# A text of one's own gets a folder of its own, so that the novels stay cached.
texts=$skerry_cache/text
if [ ${#text[@]} -gt 0 ]; then texts=$skerry_cache/own-text; fi
python3 "$skerry_root/deploy/get_text.py" --out "$texts" "${text[@]}"
if [ "$do_setup" = yes ]; then "$skerry_root/deploy/build.sh"; fi
exec python3 "$skerry_root/deploy/demo.py" --text "$texts" "${demo[@]}"
