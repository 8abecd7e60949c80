"""Shows a run while it trains: a few lines that are redrawn on a terminal, plain lines elsewhere."""
import shutil
import sys
import time

BAR = 24
PLAIN_EVERY = 5.0  # seconds between plain lines


def human_bytes(count):
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024


def human_time(seconds):
    if seconds is None:
        return "?"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


class Rate:
    """Tokens a second over the last ten seconds or so, from the committed count."""

    def __init__(self):
        self.points = []

    def add(self, tokens):
        now = time.monotonic()
        if not self.points or tokens != self.points[-1][1]:
            self.points.append((now, tokens))
        while len(self.points) > 2 and now - self.points[0][0] > 10:
            self.points.pop(0)
        (t0, n0), (t1, n1) = self.points[0], self.points[-1]
        return (n1 - n0) / (t1 - t0) if t1 > t0 else 0.0


def waiting_text(status):
    """Who is waited for, for what and since when; or what holds the run."""
    if status.get("hold_reason"):
        return f"HOLD: {status['hold_reason']}"
    parts = [f"{w.get('node') or 'run'} ({w['phase']}, {w['since_ms'] / 1000:.1f} s)" for w in status.get("waiting_for", [])]
    return ", ".join(parts) if parts else "nobody"


def facts(status, total, rate):
    """What both views show."""
    speed = rate.add(status["tokens"])
    left = (total - status["tokens"]) / speed if speed > 0 else None
    losses = [n["loss"] for n in status["nodes"] if n.get("loss")]
    heldout = status.get("heldout") or {}
    return {
        "step": status["head"], "done": min(status["tokens"] / total, 1.0), "speed": speed, "left": left,
        "loss": sum(losses) / len(losses) if losses else None, "heldout": heldout.get("loss"), "heldout_step": heldout.get("step"),
        "bytes": sum(n.get("sent_bytes", 0) for n in status["nodes"]),
    }


def number(value, form="{:.3f}"):
    return "-" if value is None else form.format(value)


class PlainView:
    def __init__(self, total):
        self.total, self.rate, self.next = total, Rate(), 0.0

    def show(self, status):
        f = facts(status, self.total, self.rate)
        if time.monotonic() < self.next and f["done"] < 1:
            return
        self.next = time.monotonic() + PLAIN_EVERY
        print(f"step {f['step']:4d}  {f['done']:4.0%}  {f['speed']:7,.0f} tok/s  loss {number(f['loss'])}  held-out {number(f['heldout'])}  "
              f"sent {human_bytes(f['bytes'])}  waiting for {waiting_text(status)}  left {human_time(f['left'])}", flush=True)

    def end(self):
        pass


class TerminalView:
    def __init__(self, total):
        self.total, self.rate, self.lines = total, Rate(), 0
        sys.stdout.write("\x1b[?25l")

    def show(self, status):
        f = facts(status, self.total, self.rate)
        full = int(f["done"] * BAR)
        rows = [
            f"step {f['step']:<5d} [{'#' * full}{'.' * (BAR - full)}] {f['done']:4.0%}   {f['speed']:,.0f} tokens/s   {human_time(f['left'])} left",
            f"loss {number(f['loss'])}   held-out {number(f['heldout'])} at step {number(f['heldout_step'], '{}')}   sent {human_bytes(f['bytes'])}",
        ]
        for node in sorted(status["nodes"], key=lambda n: n["name"]):
            rows.append(f"  {node['name']:<10} {node.get('state', ''):<9} step {node['head']:<5d} {node.get('trainer', ''):<9} "
                        f"{node.get('tokens_per_s', 0):8,.0f} tok/s   sent {human_bytes(node.get('sent_bytes', 0))}")
        rows.append(f"waiting for {waiting_text(status)}   next: {status.get('next') or '-'}")
        width = shutil.get_terminal_size().columns - 1
        up = f"\x1b[{self.lines}A" if self.lines else ""
        sys.stdout.write(up + "".join(f"\x1b[2K{row[:width]}\n" for row in rows))
        sys.stdout.flush()
        self.lines = len(rows)

    def end(self):
        sys.stdout.write("\x1b[?25h")
        sys.stdout.flush()


def make_view(total, plain):
    return PlainView(total) if plain else TerminalView(total)
