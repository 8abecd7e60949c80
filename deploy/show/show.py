"""Runs the items of items.py and prints one line for each. deploy/show.sh starts it."""
import argparse
import sys
import time
import traceback

import items
from checks import Failed


def run_item(item, verbose):
    begin = time.monotonic()
    try:
        value, ok = " ".join(item.check().split()), True
    except Failed as problem:
        value, ok = " ".join(str(problem).split()), False
    except Exception as problem:  # an item that breaks is a failed item, never a skipped one
        value, ok = f"{type(problem).__name__}: {problem}", False
        if verbose:
            traceback.print_exc()
    seconds = time.monotonic() - begin
    print(f"{'ok  ' if ok else 'FAIL'} {item.number:2d}  {item.what}: {value}  (bar: {item.bar}; {seconds:.0f} s)", flush=True)
    return ok


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", type=int, action="append", metavar="N")
    parser.add_argument("--verbose", action="store_true", help="tracebacks, and the output of what failed")
    args = parser.parse_args()
    items.VERBOSE = args.verbose
    wanted = [item for item in items.ITEMS if not args.only or item.number in args.only]
    if not wanted:
        parser.error(f"items are {', '.join(str(item.number) for item in items.ITEMS)}")
    results = [run_item(item, args.verbose) for item in wanted]
    print(f"{sum(results)} ok, {len(results) - sum(results)} FAIL")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
