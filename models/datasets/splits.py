"""Which photos train and which test: by the files where they say so, else every 8th tests."""

from __future__ import annotations

from collections.abc import Sequence

EVERY = 8
Indices = tuple[int, ...]


def every_eighth(count: int) -> tuple[Indices, Indices]:
    """(train, test): the photos 0, 8, 16, ... test; a single photo trains.

    Source: the protocol of Mip-NeRF 360 (Barron et al. 2022).
    """
    test = tuple(range(0, count, EVERY)) if count > 1 else ()
    chosen = set(test)
    return tuple(i for i in range(count) if i not in chosen), test


def by_labels(labels: Sequence[str | None]) -> tuple[Indices, Indices]:
    """(train, test) from the label of each photo: "train", "val", "test" or None.

    Without "test" the "val" photos test, without either the unlabelled ones; without all three every 8th of "train".
    """
    train = tuple(i for i, label in enumerate(labels) if label == "train")
    for wanted in ("test", "val", None):
        test = tuple(i for i, label in enumerate(labels) if label == wanted)
        if len(test) > 0:
            break
    if len(train) == 0:
        used = set(test)
        train = tuple(i for i in range(len(labels)) if i not in used)
    if len(train) == 0 or len(test) == 0:
        return every_eighth(len(labels))
    return train, test
