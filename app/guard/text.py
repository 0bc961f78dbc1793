"""Text from files, made safe for the two places of the page that read markup: `add_html` and `add_markdown`.

viser puts the content of `add_html` into the page as it is, and renders raw HTML inside markdown unsanitised. Labels,
hints, dropdown options and notifications are plain text there: escape nothing for those, or the reader sees `&#60;`.
"""

from __future__ import annotations

import string
import unicodedata

# Every ASCII punctuation character becomes a numeric reference: HTML reads it back as the character, and CommonMark
# promises that a reference never works as markup, so one function serves both.
_REFERENCES = {ord(char): f"&#{ord(char)};" for char in string.punctuation}


def escape(text: str, *, limit: int = 500) -> str:
    """`text` as one line that HTML (an element's content or a quoted attribute) and markdown show letter for letter.

    Line ends and runs of spaces become one space (they would start markdown blocks), bidirectional overrides and other
    invisible characters vanish, and what is longer than `limit` characters ends in an ellipsis: names inside files can
    be megabytes long. Markdown may still make a plain link of a web address in it. Not for scripts, styles or
    addresses, where no escaping makes foreign text safe.
    """
    kept = "".join(_visible(char) for char in text[:limit])
    return " ".join(kept.split()).translate(_REFERENCES) + ("…" if len(text) > limit else "")


def _visible(char: str) -> str:
    category = unicodedata.category(char)
    if category == "Cc":
        return " "
    return "" if category in ("Cf", "Cs") else char
