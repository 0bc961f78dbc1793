"""Where what was worked out once is kept for the next time."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """Where caches lie by the platform's custom; H3D_CACHE overrides it. Deleting it costs only time."""
    if override := os.environ.get("H3D_CACHE"):
        return Path(override)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "h3d-view" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "h3d-view"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "h3d-view"
