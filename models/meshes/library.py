"""The one place where open3d is loaded: lazily, and with the libusb that it is linked against."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from importlib import import_module
from typing import Any


@cache
def open3d() -> Any:
    """The module. Its first call takes a second.

    Raises:
        RuntimeError: it does not load here; the sentence says why.
    """
    try:
        if sys.platform.startswith("linux"):
            _load_libusb()
        module = import_module("open3d")
    except (ImportError, OSError) as error:
        rule = f"meshes: open3d does not load ({error})"
        raise RuntimeError(f"{rule}; reinstall h3d-view, or open3d and libusb-package alone") from error
    # Its warnings would go to the terminal; what is wrong with a file is found by our own checks.
    module.utility.set_verbosity_level(module.utility.VerbosityLevel.Error)
    return module


def _load_libusb() -> None:
    """open3d's library names libusb-1.0 (for depth cameras), which a bare system lacks: the wheel's own serves."""
    path = import_module("libusb_package").get_library_path()
    if path is not None:
        ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
