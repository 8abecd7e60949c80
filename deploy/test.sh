#!/usr/bin/env bash
# Installs, builds and runs every test. usage: deploy/test.sh [--only LABEL] [--no-setup]
# Labels: unit golden lint sim oracle gpu process. Ends with "N passed, N failed".
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

only='' do_setup=yes
while [ $# -gt 0 ]; do
    case $1 in
        --only) only=${2:?--only needs a label}; shift ;;
        --no-setup) do_setup=no ;;
        -h | --help) sed -n '2,3s/^# //p' "$0"; exit 0 ;;
        *) die USAGE 2 "unknown option $1" "deploy/test.sh --help" ;;
    esac
    shift
done

begin=$SECONDS
python=$(skerry_python)
if [ "$do_setup" = yes ]; then
    "$skerry_root/deploy/setup.sh" --tests
    export SKERRY_PYTHON=$python  # the oracle tests are configured with it
    "$skerry_root/deploy/build.sh" all
    python3 "$skerry_root/deploy/get_text.py" --out "$skerry_cache/text"
fi
say "test: built after $((SECONDS - begin)) s"

build=$skerry_root/build/$skerry_preset
results=$skerry_cache/test-results
rm -rf "$results"
mkdir -p "$results"

# Many small tests share the cores; those that start clusters of processes say that they need both.
ctest --test-dir "$build" -j "$(nproc)" ${only:+-L "$only"} --output-on-failure --output-junit "$results/ctest.xml" \
    --no-tests=error >"$results/ctest.log" 2>&1 && rc=0 || rc=$?
grep -vE '^ +Start +[0-9]+:' "$results/ctest.log" || true

counts=$(sed -n 's/.*<testsuite .*/&/p; s/^[[:space:]]*\(tests\|failures\|disabled\|skipped\)="\([0-9]*\)".*/\1 \2/p' "$results/ctest.xml")
number() { awk -v key="$1" '$1 == key { print $2; exit }' <<<"$counts"; }
total=$(number tests) failed=$(number failures) skipped=$(number skipped)
say "test: $((SECONDS - begin)) s in all; results in $results"
[ -n "$total" ] || die TESTS 1 "ctest gave no results; see $results/ctest.log"
left_out=$((${skipped:-0} + $(number disabled)))
[ "$left_out" = 0 ] || printf '%s skipped\n' "$left_out"
printf '%s passed, %s failed\n' "$((total - failed - left_out))" "$failed"
exit "$rc"
