"""How an item runs something: Python test classes, gtest programs, CTest labels. Values come from lines
"value: ..." that the tests print."""
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build" / os.environ.get("SKERRY_PRESET", "release")
LOGS = ROOT / ".cache" / "show"


class Failed(Exception):
    """The item did not reach its bar; the text is its value."""


def _log(name, text):
    LOGS.mkdir(parents=True, exist_ok=True)
    path = LOGS / (re.sub(r"[^\w.-]+", "_", name)[:80] + ".log")
    path.write_text(text)
    return path.relative_to(ROOT)


def values_in(text):
    return [line.split("value:", 1)[1].strip() for line in text.splitlines() if line.strip().startswith("value:")]


def run(command, name, patience=1800, env=None, cwd=ROOT):
    """Output of a command; Failed if it did not end in time."""
    try:
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=patience, cwd=cwd,
                              env={**os.environ, "SKERRY_BIN": str(BUILD / "bin"), **(env or {})}, check=False)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"{name} did not end in {patience} s: {_log(name, str(late.output))}") from None
    return done


def python_tests(folder, names, patience=1800, env=None):
    """Runs unittest names in a folder of tests/. Returns (number passed, values)."""
    name = f"{folder}-{names[0]}"
    done = run([sys.executable, "-m", "unittest", "-v", *names], name, patience, env, ROOT / "tests" / folder)
    text = done.stdout + done.stderr
    ran = re.search(r"^Ran (\d+) tests?", text, re.MULTILINE)
    bad = re.findall(r"^(?:FAIL|ERROR): (\w+)", text, re.MULTILINE)
    skipped = re.search(r"skipped=(\d+)", text)
    if done.returncode != 0 or not ran or skipped:
        reason = ", ".join(bad) or ("skipped tests" if skipped else f"exit status {done.returncode}")
        raise Failed(f"{reason}; see {_log(name, text)}")
    return int(ran.group(1)), values_in(text)


def ctest(label=None, pattern=None, patience=1800, env=None, build=BUILD):
    """Runs CTest entries by label or name. Returns (number passed, values)."""
    select = [*(["-L", f"^{label}$"] if label else []), *(["-R", pattern] if pattern else [])]
    name = f"ctest-{build.name}-{label or ''}{pattern or ''}"
    done = run(["ctest", "--test-dir", build, *select, "-V", "--no-tests=error"], name, patience, env)
    text = done.stdout + done.stderr
    total = re.search(r"tests passed(?:, \d+ tests? failed)? out of (\d+)", text)  # newer ones leave the zero out
    skipped = re.findall(r"\*\*\*Skipped", text)
    if done.returncode != 0 or not total or skipped:
        failed = ", ".join(re.findall(r"^\s*\d+ - (\S+) \((?:Failed|Timeout|Not Run)", text, re.MULTILINE))
        raise Failed(f"{failed or ('skipped tests' if skipped else 'no such tests')}; see {_log(name, text)}")
    # CTest -V puts "12: " before each line of a test's output.
    return int(total.group(1)), values_in(re.sub(r"^\d+: ?", "", text, flags=re.MULTILINE))


def said(values, otherwise):
    return "; ".join(values) if values else otherwise
