"""The scenes that were opened lately, newest first, remembered from one start to the next."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from pathlib import Path

from h3d.models.formats.atomic import replacing

logger = logging.getLogger(__name__)

LIMIT = 12


def state_folder() -> Path:
    """Where the program keeps what it remembers, by the platform's custom; H3D_STATE overrides it."""
    if override := os.environ.get("H3D_STATE"):
        return Path(override)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "h3d-view"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "h3d-view"
    return Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local" / "state")) / "h3d-view"


class RecentScenes:
    """A short list of paths in a JSON file. A list that cannot be read or written is no reason to stop."""

    def __init__(self, folder: Path | None = None) -> None:
        self._file = (folder or state_folder()) / "recent.json"
        self._lock = threading.Lock()

    def paths(self) -> list[Path]:
        """The remembered scenes that still exist, newest first."""
        try:
            entries = json.loads(self._file.read_text())
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            logger.warning("%s: cannot be read (%s); starting a new list", self._file, error)
            return []
        if not isinstance(entries, list):
            return []
        return [Path(entry) for entry in entries if isinstance(entry, str) and Path(entry).exists()]

    def add(self, path: Path) -> None:
        """Put a scene first."""
        with self._lock:
            path = path.resolve()
            entries = [str(path), *(str(p) for p in self.paths() if p != path)][:LIMIT]
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                with replacing(self._file) as file:
                    file.write(json.dumps(entries, indent=1).encode())
            except OSError as error:
                logger.warning("%s: cannot be written (%s)", self._file, error)
