"""A viewer's tab without a browser: viser's wire protocol over a plain websocket, for tests and the latency benchmark.

`ViserClient` connects with the token, sends its camera as the page does, keeps the controls and the newest pictures
that the server sends, acknowledges them as the page does, and can do what a person does: move, drag a slider, press a
button, run a command, click into the picture, upload a file. It can also do what a bad line or a hidden tab does: stop
reading, or read and never acknowledge.
"""

from .client import ViserClient
from .page import Control, Notification, Page, Picture
from .view import View

__all__ = ["Control", "Notification", "Page", "Picture", "View", "ViserClient"]
