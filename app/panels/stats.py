"""What a picture costs, measured: milliseconds by stage, pictures a second, latency, Gaussians drawn, memory."""

from __future__ import annotations

import time
from collections import deque
from statistics import median

from h3d.app.memory import resident_bytes
from h3d.app.session import Session
from h3d.app.workspace.events import FrameAcknowledged, FrameShown, SessionEvent
from h3d.models.gaussians import Gaussians
from h3d.renderers import backends

from .handles import table

REFRESH_SECONDS = 0.5
STAGES = ("project", "sort", "bin", "raster")


class StatsPanel:
    title = "Stats"

    def __init__(self, session: Session) -> None:
        self.session = session
        self.frames: deque[tuple[float, FrameShown]] = deque(maxlen=60)
        self.latencies: deque[float] = deque(maxlen=60)
        self.refreshed = 0.0

    def build(self) -> None:
        """Make the handles in the current container."""
        self.text = self.session.client.gui.add_html(table([("pictures", "none yet")]))
        self.session.client.gui.add_html(table([("backend", backends.describe(self.session.settings.backend))]))

    def on_event(self, event: SessionEvent) -> None:
        if isinstance(event, FrameShown):
            self.frames.append((time.perf_counter(), event))
        elif isinstance(event, FrameAcknowledged):
            self.latencies.append(event.latency_ms)
        else:
            return
        if time.perf_counter() - self.refreshed >= REFRESH_SECONDS or (self.frames and self.frames[-1][1].still):
            self.refreshed = time.perf_counter()
            self.text.content = table(self.rows())

    def rows(self) -> list[tuple[str, str]]:
        """The table's rows as they stand."""
        if not self.frames:
            return [("pictures", "none yet")]
        now, last = time.perf_counter(), self.frames[-1][1]
        recent = [at for at, _ in self.frames if now - at < 2.0]
        rate = (len(recent) - 1) / (recent[-1] - recent[0]) if len(recent) > 2 else None
        rows = [
            ("picture", f"{last.width} x {last.height}{'' if last.still else ' (moving)'}"),
            ("render", f"{last.stats.get('total_ms', 0.0):.1f} ms; JPEG {last.stats.get('encode_ms', 0.0):.1f} ms"),
            ("pictures/s", f"{rate:.1f}" if rate else "still"),
        ]
        if (total := self._total()) > 0:
            stages = "  ".join(f"{stage} {last.stats.get(stage + '_ms', 0.0):.1f}" for stage in STAGES)
            rows += [
                ("stages", f"{stages} ms"),
                ("drawn", f"{int(last.stats.get('visible', 0)):,} of {total:,} Gaussians"),
                ("tile entries", f"{int(last.stats.get('intersections', 0)):,}"),
            ]
        if self.latencies:
            rows.append(("latency", f"{median(self.latencies):.0f} ms (move to drawn in the browser)"))
        memory = resident_bytes()
        if memory is not None:
            rows.append(("memory", f"{memory / 2**20:,.0f} MiB"))
        return rows

    def _total(self) -> int:
        layers = (layer for layer in self.session.workspace.layers if layer.visible)
        return sum(len(layer.asset) for layer in layers if isinstance(layer.asset, Gaussians))
