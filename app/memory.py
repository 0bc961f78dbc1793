"""How much memory the program holds, from the operating system."""

from __future__ import annotations

import os
import sys


def resident_bytes() -> int | None:
    """Resident set size of this process now, or None where the platform does not say without more packages."""
    if sys.platform == "linux":
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None
