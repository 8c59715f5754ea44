#!/usr/bin/env python3
"""Runs a command in a network namespace of its own: loopback, and 10.77.0.1, which is nobody else's.

EndpointSlices may not name loopback addresses, and tests may not use anybody's ports or addresses. Needs Linux, and root or unprivileged
user namespaces; nothing but Python's standard library.
"""

import ctypes
import fcntl
import os
import socket
import struct
import sys

CLONE_NEWNET = 0x40000000
CLONE_NEWUSER = 0x10000000
SIOCSIFFLAGS = 0x8914
SIOCSIFADDR = 0x8916
SIOCSIFNETMASK = 0x891C
IFF_UP_LOOPBACK_RUNNING = 0x1 | 0x8 | 0x40
ADDRESS = "10.77.0.1"


def unshare() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    flags = CLONE_NEWNET if uid == 0 else CLONE_NEWNET | CLONE_NEWUSER
    if libc.unshare(flags) != 0:
        reason = os.strerror(ctypes.get_errno())
        sys.exit(f"netns.py: cannot make a network namespace ({reason}): run as root, or allow user namespaces")
    if flags & CLONE_NEWUSER:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)


def configure() -> None:
    def address(value: str) -> bytes:
        return struct.pack("=H2x4s8x", socket.AF_INET, socket.inet_aton(value))

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP_LOOPBACK_RUNNING))
        fcntl.ioctl(control, SIOCSIFADDR, struct.pack("16s16s8x", b"lo:1", address(ADDRESS)))
        fcntl.ioctl(control, SIOCSIFNETMASK, struct.pack("16s16s8x", b"lo:1", address("255.255.255.255")))


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("usage: netns.py COMMAND [ARGUMENT...]")
    unshare()
    configure()
    os.execvp(sys.argv[1], sys.argv[1:])


main()
