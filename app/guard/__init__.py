"""Who may talk to the viewer, and how much they may send: token, cookie, Host, Origin, uploads, text from files.

viser binds every interface, asks nobody for anything, accepts any page's websocket and opens a public tunnel when a
client asks. `start_guarded_server` is the one place where a `viser.ViserServer` is made, and the one where that is
put right; `rules` holds the decisions as pure functions, `uploads` what may be sent, `text` what may be shown.
"""

from .server import GuardedServer, GuardError, start_guarded_server
from .text import escape
from .uploads import UploadLimits

__all__ = ["GuardError", "GuardedServer", "UploadLimits", "escape", "start_guarded_server"]
