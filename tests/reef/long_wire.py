"""A wire with a delay between two network namespaces: two TAP devices, and whatever enters one leaves the other later.

usage: long_wire.py NAMESPACE DEVICE NAMESPACE DEVICE SECONDS      Writes "ready" when both devices exist; ends at the
end of its standard input. (netem does the same in the kernel; not every kernel has it.)
"""
import collections
import ctypes
import fcntl
import os
import select
import struct
import sys
import time

TUNSETIFF, IFF_TAP, IFF_NO_PI, CLONE_NEWNET = 0x400454CA, 0x0002, 0x1000, 0x40000000
FRAMES = 20_000  # under way in one direction; more are dropped, as a router would


def tap(space, device):
    """A TAP device of that name in that namespace; it exists as long as its descriptor."""
    with open(f"/var/run/netns/{space}") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {space}")
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TAP | IFF_NO_PI))
    return descriptor


def relay(ends, delay):
    """`ends` are two descriptors. Returns when standard input ends."""
    under_way = {ends[0]: collections.deque(), ends[1]: collections.deque()}  # by where they go
    while True:
        first = min((queue[0][0] for queue in under_way.values() if queue), default=None)
        patience = None if first is None else max(0.0, first - time.monotonic())
        ready = select.select([*ends, 0], [], [], patience)[0]
        if 0 in ready and not os.read(0, 1):
            return
        now = time.monotonic()
        for source, target in (ends, ends[::-1]):
            while source in ready and len(under_way[target]) < FRAMES:
                try:
                    under_way[target].append((now + delay, os.read(source, 65536)))
                except (BlockingIOError, OSError):
                    break
            queue = under_way[target]
            while queue and queue[0][0] <= now:
                try:
                    os.write(target, queue.popleft()[1])
                except OSError:
                    pass  # the link is down or its queue full: lost


def main():
    space, device, other_space, other_device, delay = sys.argv[1:]
    ends = (tap(space, device), tap(other_space, other_device))
    print("ready", flush=True)
    relay(ends, float(delay))


if __name__ == "__main__":
    main()
