"""What can happen, as frozen values, and the channel that tells everyone.

A view never tells another view: a panel calls a method, the method changes state and publishes, and all who
subscribed hear of it, that panel included.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from h3d.app.figures.display import Display

from .comparing import CompareSettings
from .runs import RunStatus
from .scene import Layer

logger = logging.getLogger(__name__)


# Of the workspace, shared by all tabs.


@dataclass(frozen=True)
class LayersChanged:
    """The tuple of layers is another one; `cause` is what undo calls it."""

    before: tuple[Layer, ...]
    after: tuple[Layer, ...]
    cause: str


@dataclass(frozen=True)
class AssetReplaced:
    """A layer shows a newer snapshot of what is being optimised."""

    key: int


@dataclass(frozen=True)
class RunChanged:
    """A run began, went on, was judged, paused, ended or failed."""

    status: RunStatus


WorkspaceEvent = LayersChanged | AssetReplaced | RunChanged


# Of one tab.


@dataclass(frozen=True)
class DisplayChanged:
    before: Display
    after: Display


@dataclass(frozen=True)
class CompareChanged:
    before: CompareSettings
    after: CompareSettings


@dataclass(frozen=True)
class LayerSelected:
    key: int | None
    gizmo: bool


@dataclass(frozen=True)
class SelectionChanged:
    """Other rows of the selected layer are selected, or it has others."""

    count: int
    total: int


@dataclass(frozen=True)
class PruningChanged:
    """What the tab's cut leaves of a layer is another, or its rows are being ranked, or no longer."""


@dataclass(frozen=True)
class FovChanged:
    fov_y_degrees: float


@dataclass(frozen=True)
class UpChanged:
    up: tuple[float, float, float]


@dataclass(frozen=True)
class FrameShown:
    """A picture was handed to the browser."""

    width: int
    height: int
    still: bool
    stats: dict[str, float]
    legend: tuple[str, float, float] | None = None  # what the colours mean: label, and the values at the two ends


@dataclass(frozen=True)
class FrameAcknowledged:
    """The browser drew it; latency from the request (a camera move, say) to this answer."""

    latency_ms: float


@dataclass(frozen=True)
class Measured:
    """PSNR, SSIM and counts of the two sides of a comparison; a sentence where there is nothing to measure."""

    text: str


@dataclass(frozen=True)
class Notice:
    """Something to tell the person."""

    title: str
    body: str
    kind: Literal["info", "warning", "error"] = "info"


SessionEvent = (
    DisplayChanged
    | CompareChanged
    | LayerSelected
    | SelectionChanged
    | PruningChanged
    | FovChanged
    | UpChanged
    | FrameShown
    | FrameAcknowledged
    | Measured
    | Notice
)

Event = TypeVar("Event")


class Channel(Generic[Event]):
    """One typed channel. Subscribers run in the publishing thread, in the order of subscription."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscribers: tuple[Callable[[Event], None], ...] = ()

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call `callback` with every event from now on; returns the function that ends it."""
        with self._lock:
            self._subscribers += (callback,)

        def unsubscribe() -> None:
            with self._lock:
                self._subscribers = tuple(s for s in self._subscribers if s is not callback)

        return unsubscribe

    def publish(self, event: Event) -> None:
        """Tell all subscribers; one that fails is logged and keeps no other from hearing."""
        for callback in self._subscribers:
            try:
                callback(event)
            except Exception:
                logger.exception("a subscriber of %s failed", type(event).__name__)
