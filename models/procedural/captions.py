"""The words that objects are described with, and captions as rows of tokens.

A caption reads "a red mug with blue stripes and a white handle". The vocabulary is closed: a denoiser that learns on
these captions knows these words only, and a prompt with others is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from .solid import Color, Paint

COLORS: Mapping[str, Color] = {
    "red": (0.84, 0.14, 0.13),
    "orange": (0.95, 0.52, 0.11),
    "yellow": (0.96, 0.83, 0.18),
    "green": (0.20, 0.60, 0.22),
    "teal": (0.10, 0.62, 0.62),
    "blue": (0.14, 0.32, 0.80),
    "purple": (0.50, 0.22, 0.66),
    "pink": (0.96, 0.55, 0.70),
    "brown": (0.45, 0.27, 0.13),
    "white": (0.95, 0.95, 0.93),
    "black": (0.10, 0.10, 0.11),
}
"""sRGB; mid-grey is left out, it is the background that the embedded denoiser learns on."""

DETAILS: Mapping[str, str] = {
    "mug": "handle",
    "teapot": "lid",
    "chair": "legs",
    "table": "legs",
    "lamp": "foot",
    "mushroom": "stem",
    "rocket": "fins",
    "snowman": "hat",
    "tree": "trunk",
    "car": "roof",
    "house": "roof",
    "robot": "arms",
    "fish": "fins",
    "duck": "beak",
    "boat": "sail",
    "dog": "ears",
}
"""The classes of objects, and for each the part that has a colour of its own."""
PLURAL = ("legs", "fins", "arms", "ears")
STATURES = ("tall", "squat")
PATTERN_WORDS = ("stripes", "dots", "checks")
PADDING = ""
VOCABULARY: tuple[str, ...] = (
    PADDING,
    *("a", "with", "and", "fading", "to"),
    *STATURES,
    *COLORS,
    *DETAILS,
    *PATTERN_WORDS,
    *dict.fromkeys(DETAILS.values()),
)
"""Token k is VOCABULARY[k]; new words go to the end, for trained weights know the order."""
MAX_TOKENS = 16


class UnknownWords(ValueError):
    """A prompt that the vocabulary cannot say."""


def caption_of(kind: str, stature: str, body: Paint, names: tuple[str, str, str]) -> str:
    """The sentence for an object; `names` are the colours of body, pattern and detail."""
    color, accent, detail = names
    words = f"a {stature} {color} {kind}" if stature else f"{_article(color)} {color} {kind}"
    part = DETAILS[kind]
    own = f"{detail} {part}" if part in PLURAL else f"{_article(detail)} {detail} {part}"
    if body.pattern == "plain":
        return f"{words} with {own}"
    if body.pattern == "fade":
        return f"{words} fading to {accent} with {own}"
    return f"{words} with {accent} {body.pattern} and {own}"


def tokens_of(text: str) -> np.ndarray:  # -> [MAX_TOKENS] int64, padded with 0
    """Tokens of a prompt; capitals and punctuation do not count, "an" is "a".

    Raises:
        UnknownWords: it is empty, too long or uses words beyond the vocabulary; the sentence says which.
    """
    words = ["a" if word == "an" else word for word in re.findall(r"[\w'-]+", text.lower())]
    if len(words) == 0:
        raise UnknownWords("the prompt is empty; say what to make, such as 'a red mug with blue stripes'")
    unknown = sorted({word for word in words if word not in VOCABULARY})
    if len(unknown) > 0:
        known = ", ".join(VOCABULARY[1:])
        raise UnknownWords(
            f"the embedded denoiser does not know {', '.join(map(repr, unknown))}; its words are: {known}; "
            "for any other prompt give a Stable Diffusion folder"
        )
    if len(words) > MAX_TOKENS:
        raise UnknownWords(f"the prompt has {len(words)} words, the embedded denoiser reads {MAX_TOKENS}; shorten it")
    tokens = np.zeros(MAX_TOKENS, np.int64)
    tokens[: len(words)] = [VOCABULARY.index(word) for word in words]
    return tokens


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"
