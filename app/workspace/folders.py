"""Which files a person in the browser may name: those below the folders that were given when the program started.

The person at the command line may open anything; whoever holds the page may open only this, or one leaked address would
give away the whole disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

LISTED_FOLDERS = 5  # in the sentence of a refusal


@dataclass(frozen=True)
class AllowedFolders:
    """The folders that paths typed in the browser must lie in, links followed."""

    folders: tuple[Path, ...]

    @classmethod
    def given(cls, paths: Iterable[str | Path]) -> AllowedFolders:
        """The folders of what was named at start: a folder itself, a file's folder. Missing ones are left out."""
        resolved = (Path(path).expanduser().resolve() for path in paths)
        folders = (path if path.is_dir() else path.parent for path in resolved if path.exists())
        return cls(tuple(dict.fromkeys(folders)))

    def also(self, path: str | Path) -> AllowedFolders:
        """These and one more."""
        return AllowedFolders(tuple(dict.fromkeys((*self.folders, *AllowedFolders.given([path]).folders))))

    def resolve(self, text: str) -> Path:
        """The real path that `text` means, with `..` and symbolic links followed; it need not exist.

        A relative path is looked for in each folder in turn and belongs to the first where it exists, else to the
        first folder. Raises: `PermissionError` with a sentence when it lies outside, whether or not it exists there.
        """
        typed = text.strip().strip("\"'")
        if typed == "" or "\0" in typed:
            raise PermissionError(f"no path was given{self._way_out()}")
        path = Path(os.path.expanduser(typed))
        candidates = [path] if path.is_absolute() else [folder / path for folder in self.folders]
        inside = [real for real in map(_real, candidates) if real is not None and self._holds(real)]
        if len(inside) == 0:
            raise PermissionError(f"{typed[:200]}: outside the folders opened at start{self._way_out()}")
        return next((real for real in inside if real.exists()), inside[0])

    @property
    def text(self) -> str:
        """The folders as a person reads them."""
        return ", ".join(str(folder) for folder in self.folders) or "no folder"

    def _holds(self, real: Path) -> bool:
        return any(real.is_relative_to(folder) for folder in self.folders)

    def _way_out(self) -> str:
        if len(self.folders) == 0:
            return "; no folder was opened at start: run h3d-view with the folder that holds your scenes"
        names = ", ".join(str(folder) for folder in self.folders[:LISTED_FOLDERS])
        more = len(self.folders) - LISTED_FOLDERS
        return f"; they are {names}{f' and {more} more' if more > 0 else ''}. Run h3d-view with another to add it"


def _real(path: Path) -> Path | None:
    """The path with links and `..` followed; None where links run in a circle or a name is too long to be one."""
    try:
        real = path.resolve()
        real.exists()  # Raises for names that no file can have, so that the caller's question does not.
        return real
    except (OSError, RuntimeError):
        return None
