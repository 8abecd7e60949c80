#!/usr/bin/env python3
"""The text the demo trains on: Jane Austen's six novels from Debian's r-cran-janeaustenr.

usage: get_text.py --out DIR [--text FILE]

The package (1.6 MB) is downloaded with apt-get and unpacked, not installed: no root, no R. Writes
DIR/train.txt and DIR/held-out.txt: of every 20 blocks of 64 KiB the tenth is held out. With --text
a file of your own is split the same way. Prints the sizes; does nothing if both are there already.
"""
import argparse
import bz2
import hashlib
import json
import lzma
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import zlib

PACKAGE = "r-cran-janeaustenr"
RDATA = "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb"
# (offset, length) of the novels in Rdata.rdb, as its index Rdata.rdx lists them.
CHUNKS = {
    "Emma": (0, 352043),
    "Mansfield Park": (352043, 351373),
    "Northanger Abbey": (703416, 175196),
    "Persuasion": (878612, 185130),
    "Pride and Prejudice": (1063742, 271037),
    "Sense and Sensibility": (1334779, 266556),
}
TEXT_BYTES = 4_025_038
TEXT_SHA256 = "49e55f4936b4a0835f04c5d885f6f56cc19b6a55679df4164f91c49ba14e6992"
BLOCK = 64 * 1024
HELD_OUT_EVERY, HELD_OUT_AT = 20, 9
LEAST_TEXT = 64 * 1024  # below this there is nothing to hold out and nothing to learn


class Problem(Exception):
    """A problem with a code, an exit status and something to do about it."""

    def __init__(self, code, status, text, fix):
        super().__init__(text)
        self.code, self.status, self.fix = code, status, fix


# --- R's serialisation, as much as a vector of strings needs ---------------------------------------

SEXP_STRING, SEXP_CHAR, HAS_ATTRIBUTES = 16, 9, 0x200


def unpack_chunk(chunk):
    """Undoes R's compression: 4 bytes big-endian length, a type byte for bzip2 and xz, a stream."""
    (size,) = struct.unpack(">I", chunk[:4])
    kind = chunk[4:5]
    if kind == b"2":
        data = bz2.decompress(chunk[5:])
    elif kind == b"Z":
        data = lzma.decompress(chunk[5:], lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2}]) \
            if chunk[5:6] != b"\xfd" else lzma.decompress(chunk[5:])
    else:
        data = zlib.decompress(chunk[4:])
    if len(data) != size:
        raise ValueError(f"a chunk says {size} bytes and has {len(data)}")
    return data


def read_strings(data):
    """The items of a serialised character vector (format X, version 2 or 3), as bytes."""
    if data[:2] != b"X\n":
        raise ValueError("not R's binary format")
    (version,) = struct.unpack(">i", data[2:6])
    at = 14
    if version == 3:  # the name of the native encoding follows
        (length,) = struct.unpack(">i", data[at:at + 4])
        at += 4 + length
    flags, count = struct.unpack(">Ii", data[at:at + 8])
    at += 8
    if flags & 0xFF != SEXP_STRING:
        raise ValueError(f"not a vector of strings (type {flags & 0xFF})")
    lines = []
    for _ in range(count):
        flags, length = struct.unpack(">Ii", data[at:at + 8])
        at += 8
        if flags & 0xFF != SEXP_CHAR:
            raise ValueError(f"not a string (type {flags & 0xFF})")
        lines.append(data[at:at + max(length, 0)])
        at += max(length, 0)
    return lines


def decode(rdb):
    novels = []
    for offset, length in CHUNKS.values():
        lines = read_strings(unpack_chunk(rdb[offset:offset + length]))
        novels.append(b"\n".join(lines))
    return b"\n\n\n".join(novels)


# --- getting the package ---------------------------------------------------------------------------


def apt_download(folder, options=()):
    return subprocess.run(["apt-get", "-q", *options, "download", PACKAGE], cwd=folder, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)


def fetch_package(folder):
    """Downloads the package into `folder`; with package lists of our own if the system has none."""
    print(f"text: downloading {PACKAGE} (1.6 MB, Debian main)", file=sys.stderr)
    try:
        answer = apt_download(folder)
        if answer.returncode != 0:
            lists = pathlib.Path(folder) / "apt"
            (lists / "lists" / "partial").mkdir(parents=True)
            (lists / "cache" / "archives" / "partial").mkdir(parents=True)
            own = ["-o", f"Dir::State::lists={lists}/lists", "-o", f"Dir::Cache={lists}/cache"]
            print("text: the system's package lists do not have it; reading fresh ones (about 10 MB)", file=sys.stderr)
            subprocess.run(["apt-get", "-q", *own, "update"], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            answer = apt_download(folder, own)
    except FileNotFoundError:
        raise Problem("NO_DATA", 14, "this system has no apt-get to fetch the text with", "deploy/demo.sh --text FILE") from None
    packages = list(pathlib.Path(folder).glob(PACKAGE + "_*.deb"))
    if not packages:
        last = (answer.stdout.strip().splitlines() or ["no output"])[-1]
        raise Problem("NO_DATA", 14, f"apt-get could not download {PACKAGE}: {last}",
                      "check the network, or deploy/demo.sh --text FILE")
    return packages[0]


def austen():
    with tempfile.TemporaryDirectory(prefix="skerry-text-") as folder:
        # apt drops to its own user _apt for downloads when it can enter the folder.
        os.chmod(folder, 0o755)
        package = fetch_package(folder)
        subprocess.run(["dpkg-deb", "-x", str(package), f"{folder}/x"], check=True)
        text = decode((pathlib.Path(folder) / "x" / RDATA).read_bytes())
    digest = hashlib.sha256(text).hexdigest()
    if len(text) != TEXT_BYTES or digest != TEXT_SHA256:
        raise Problem("DIGEST_MISMATCH", 14, f"{PACKAGE} holds another text: {len(text)} bytes, sha256 {digest[:16]}...",
                      "deploy/demo.sh --text FILE")
    return text


# --- a file of the user's --------------------------------------------------------------------------


def read_text(path):
    fix = "give a plain text file of 64 KiB or more"
    try:
        data = pathlib.Path(path).read_bytes()
    except FileNotFoundError:
        raise Problem("DATA_INVALID", 14, f"there is no file {path}", "check --text") from None
    except IsADirectoryError:
        raise Problem("DATA_INVALID", 14, f"{path} is a folder", fix) from None
    except PermissionError:
        raise Problem("DATA_INVALID", 14, f"{path} may not be read", "check its permissions") from None
    if not data:
        raise Problem("DATA_INVALID", 14, f"{path} is empty", fix)
    if b"\0" in data:
        raise Problem("DATA_INVALID", 14, f"{path} is not text: it has a zero byte at {data.index(0)}", fix)
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise Problem("DATA_INVALID", 14, f"{path} is not UTF-8 text: byte {problem.start}", fix) from None
    if len(data) < LEAST_TEXT:
        raise Problem("DATA_INVALID", 14, f"{path} has {len(data)} bytes", fix)
    return data


# --- split and write -------------------------------------------------------------------------------


def split(text):
    """(training, held-out). Short texts hold out their last twentieth instead of a block."""
    blocks = [text[i:i + BLOCK] for i in range(0, len(text), BLOCK)]
    if len(blocks) <= HELD_OUT_AT:
        cut = len(text) - max(len(text) // 20, 4096)
        return text[:cut], text[cut:]
    held = [b for i, b in enumerate(blocks) if i % HELD_OUT_EVERY == HELD_OUT_AT]
    train = [b for i, b in enumerate(blocks) if i % HELD_OUT_EVERY != HELD_OUT_AT]
    return b"".join(train), b"".join(held)


def write(path, data):
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.replace(path)


def write_text(out, source, text):
    train, held_out = split(text)
    out.mkdir(parents=True, exist_ok=True)
    stamp = out / "source.json"
    stamp.unlink(missing_ok=True)
    write(out / "train.txt", train)
    write(out / "held-out.txt", held_out)
    write(stamp, json.dumps({"source": source, "bytes": len(text), "train": len(train), "held_out": len(held_out)}).encode())
    return len(train), len(held_out)


def cached(out, source):
    """Sizes of an earlier result of the same source, or None."""
    try:
        stamp = json.loads((out / "source.json").read_text())
        sizes = (out / "train.txt").stat().st_size, (out / "held-out.txt").stat().st_size
    except (OSError, ValueError):
        return None
    return sizes if stamp.get("source") == source and sizes == (stamp.get("train"), stamp.get("held_out")) else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--text", help="a text file of your own")
    args = parser.parse_args()
    try:
        if args.text is not None:
            text = read_text(args.text)
            sizes = write_text(args.out, f"sha256:{hashlib.sha256(text).hexdigest()}", text)
        else:
            sizes = cached(args.out, PACKAGE) or write_text(args.out, PACKAGE, austen())
    except Problem as problem:
        print(f"error[{problem.code}]: {problem}\nfix:   {problem.fix}", file=sys.stderr)
        return problem.status
    print(f"text: {sizes[0]:,} bytes to train on, {sizes[1]:,} held out", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
