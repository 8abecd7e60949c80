"""Says what pip is about to download, from the report of `pip install --dry-run --report FILE`.

Exit status: 0 go on, 3 the plan holds CUDA packages and --allow-cuda was not given.
"""
import argparse
import json
import os
import re
import ssl
import sys
import urllib.parse
import urllib.request

CUDA = re.compile(r"^(nvidia-|cuda-|triton$|pytorch-triton|cupy)", re.IGNORECASE)
CUDA_WHEEL = re.compile(r"\+cu\d|\+rocm|\+xpu", re.IGNORECASE)


def size_of(url):
    """Bytes behind a file or http address; None where the server does not say."""
    parts = urllib.parse.urlsplit(url)
    try:
        if parts.scheme == "file":
            return os.path.getsize(urllib.parse.unquote(parts.path))
        context = ssl.create_default_context(cafile=os.environ.get("PIP_CERT"))
        request = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            length = answer.headers.get("Content-Length")
            return int(length) if length else None
    except (OSError, ValueError):
        return None


def is_cuda(item):
    name = item["metadata"]["name"]
    version = item["metadata"]["version"]
    if CUDA.match(name) or CUDA_WHEEL.search(version):
        return True
    needs = item["metadata"].get("requires_dist", []) if name == "torch" else []
    # A torch wheel that asks for nvidia packages on this platform is a CUDA wheel, even when pip was
    # told not to follow them.
    return any(CUDA.match(need) and "extra" not in need for need in needs) and not version.endswith("+cpu")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report")
    parser.add_argument("--allow-cuda", action="store_true")
    args = parser.parse_args()
    with open(args.report, encoding="utf-8") as file:
        items = json.load(file)["install"]
    if not items:
        return 0
    cuda = [item["metadata"]["name"] for item in items if is_cuda(item)]
    if cuda and not args.allow_cuda:
        print(f"setup: pip would install {', '.join(sorted(cuda))}", file=sys.stderr)
        return 3
    total, unknown = 0, 0
    print("setup: pip installs", file=sys.stderr)
    for item in sorted(items, key=lambda item: item["metadata"]["name"].lower()):
        url = item["download_info"]["url"]
        size = size_of(url)
        total += size or 0
        unknown += size is None
        text = "size not told" if size is None else f"{size / 1e6:8.1f} MB"
        place = urllib.parse.urlsplit(url).netloc or "local file"
        print(f"  {item['metadata']['name']:<20} {item['metadata']['version']:<14} {text}  {place}", file=sys.stderr)
    more = f" and {unknown} of unknown size" if unknown else ""
    print(f"setup: {total / 1e6:.0f} MB in all{more} (from the cache where pip has it)", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
