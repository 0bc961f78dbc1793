"""Text from files is shown letter for letter by HTML and by markdown, and never works as markup."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from h3d.app.guard import escape

NASTY = [
    "<img src=x onerror=alert(1)>",
    "[x](javascript:alert(1))",
    "![x](http://evil.example/p.png)",
    "<script>fetch('/')</script>",
    "</div><iframe srcdoc='x'>",
    "# heading",
    "- item\n- item",
    "1. item",
    "> quote",
    "    code",
    "```\ncode\n```",
    "a *b* _c_ `d` ~~e~~",
    "| a | b |\n|---|---|\n| c | d |",
    "<https://evil.example>",
    "&lt;b&gt; &#60;i&#62;",
    "a\\*b",
    '" onmouseover="alert(1)',
    "x\n\n<b>y</b>\n\n---\n",
]


class Tags(HTMLParser):
    """Collects what HTML would make of a text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.text += "".join(str(value) for _, value in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def in_html(source: str) -> Tags:
    parser = Tags()
    parser.feed(source)
    parser.close()
    return parser


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("text", NASTY)
def test_html_shows_the_letters_and_makes_no_element(text: str) -> None:
    inside = in_html(f"<div>{escape(text)}</div>")
    assert inside.tags == ["div"]
    assert inside.text == one_line(text)
    attribute = in_html(f'<div title="{escape(text)}"></div>')
    assert attribute.tags == ["div"]
    assert attribute.text == one_line(text)


@pytest.mark.parametrize("text", NASTY)
def test_markdown_shows_the_letters_and_makes_one_plain_paragraph(text: str) -> None:
    shown = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(escape(text))
    match = re.fullmatch(r"<p>(.*)</p>\n", shown)
    assert match is not None
    assert in_html(shown).tags == ["p"]
    assert html.unescape(match[1]) == one_line(text)


@given(st.text(max_size=80))
def test_no_text_makes_an_element_in_html_or_markdown(text: str) -> None:
    escaped = escape(text)
    assert in_html(f"<div>{escaped}</div>").tags == ["div"]
    assert set(in_html(MarkdownIt("commonmark").render(escaped)).tags) <= {"p"}


def test_direction_overrides_and_control_characters_vanish() -> None:
    assert escape("a\u202eb\u200bc\x00d\x1be\rf\ud800g") == "abc d e fg"


def test_long_text_is_cut() -> None:
    assert escape("x" * 1000) == "x" * 500 + "…"
    assert escape("x" * 1000, limit=3) == "xxx…"


def test_plain_words_stay_readable() -> None:
    assert escape("Grüße 東京 42") == "Grüße 東京 42"
