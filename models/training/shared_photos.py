"""What several runs of one data set hold at once is in memory once, and goes when the last of them lets it go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from h3d.models.datasets import PosedImage

Value = TypeVar("Value")


class Shared(Generic[Value]):
    """Values by key, each made once while somebody holds it. It holds none itself, so that nothing need bound it."""

    def __init__(self) -> None:
        self._held: WeakValueDictionary[Hashable, Value] = WeakValueDictionary()
        self._lock = threading.RLock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value that is held under the key, else a new one. Raises: what `make` raises."""
        with self._lock:
            found = self._held.get(key)
            if found is None:
                found = self._held[key] = make()
            return found


def photo_key(posed: PosedImage, downscale: int) -> Hashable:
    """Equal for photos of the same files, as they are now, the same camera and the same size."""
    camera = (posed.width, posed.height, posed.camera_to_world.tobytes(), posed.K.tobytes(), posed.distortion)
    return (_version(posed.path), posed.mask_path and _version(posed.mask_path), camera, downscale)


def _version(path: Path) -> Hashable:
    try:
        status = path.stat()
    except OSError:  # Whoever reads it says so.
        return (path.absolute(),)
    return (path.absolute(), status.st_mtime_ns, status.st_size)


def photos_key(photos: Sequence[PosedImage], downscale: int) -> Hashable:
    """The same of several, in this order."""
    return tuple(photo_key(photo, downscale) for photo in photos)
