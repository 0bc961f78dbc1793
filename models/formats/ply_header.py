"""The header of a PLY file, and its rows in blocks: what the three kinds of .ply share.

A PLY file is a text header (elements, each with a count and named typed properties), then the rows of each element in
order. Counts are checked against the size of the file before anything is allocated.
Source: Turk 1994, "The PLY Polygon File Format".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from .errors import DAMAGED, REEXPORT, FormatError

MAGIC = (b"ply\n", b"ply\r")
HEADER_LIMIT = 1 << 20
BLOCK_BYTES = 4 << 20

_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_ENCODINGS: dict[str, Literal["<", ">", "ascii"]] = {
    "binary_little_endian": "<",
    "binary_big_endian": ">",
    "ascii": "ascii",
}


@dataclass(frozen=True)
class Element:
    """One kind of row: its name, how many there are, and its properties in file order."""

    name: str
    count: int
    names: tuple[str, ...]
    types: tuple[str, ...]
    """numpy codes without byte order; "list" for a property of varying length."""

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in a binary file; only for elements without lists."""
        return sum(int(code[1]) for code in self.types)

    def dtype(self, order: str) -> np.dtype:
        """The row as a packed numpy record, `order` being "<" or ">"."""
        return np.dtype([(name, order + code) for name, code in zip(self.names, self.types, strict=True)])


@dataclass(frozen=True)
class Header:
    """What the text part says."""

    encoding: Literal["<", ">", "ascii"]
    elements: tuple[Element, ...]
    comments: tuple[str, ...]
    size: int
    """Bytes up to the first row."""

    def element(self, name: str) -> Element | None:
        return next((e for e in self.elements if e.name == name), None)

    @property
    def antialiased(self) -> bool:
        """Whether a comment of Brush, Postshot or ours says that the scene was trained antialiased."""
        words = [comment.lower().replace(":", " ").split() for comment in self.comments]
        return any(w in (["splatrendermode", "mip"], ["antialiased", "1"], ["antialiased", "true"]) for w in words)


def read_header(path: Path) -> Header:
    """Parses the text part.

    Raises: FormatError when it is not a PLY header, or is one that declares what no reader could honour.
    """
    with open(path, "rb") as file:
        text = file.read(HEADER_LIMIT)
    end = text.find(b"end_header")
    newline = text.find(b"\n", end)
    if not text.startswith(MAGIC) or end < 0 or newline < 0:
        raise FormatError(path, "header", "must start with `ply` and end with a line `end_header`", DAMAGED)
    encoding: Literal["<", ">", "ascii"] | None = None
    elements: list[Element] = []
    comments = []
    for number, line in enumerate(text[:end].decode("latin-1").splitlines()[1:], start=2):
        words = line.split()
        place = f"header line {number}"
        if len(words) == 0:
            continue
        if words[0] in ("comment", "obj_info"):
            comments.append(line.strip()[len(words[0]) :].strip())
        elif words[0] == "format":
            encoding = _ENCODINGS.get(words[1] if len(words) > 1 else "")
        elif words[0] == "element":
            elements.append(_element(path, place, words))
        elif words[0] == "property" and len(elements) > 0:
            elements[-1] = _with_property(path, place, elements[-1], words)
        else:
            raise FormatError(path, place, f"{ascii(line.strip()[:60])} is no PLY header line", DAMAGED)
    if encoding is None:
        rule = "no `format` line with binary_little_endian, binary_big_endian or ascii"
        raise FormatError(path, "header", rule, REEXPORT)
    return Header(encoding, tuple(elements), tuple(comments), newline + 1)


def require_size(path: Path, header: Header, last: str) -> None:
    """Checks the counts of the elements up to the one named `last` against the size of the file.

    Raises: FormatError when bytes are missing, when whole rows are left over at the end of the file, or when rows
    have a varying length where that would hide those of `last`.
    """
    present = path.stat().st_size - header.size
    needed = 0
    index = [element.name for element in header.elements].index(last)
    for element in header.elements[: index + 1]:
        if "list" in element.types and (header.encoding != "ascii" or element.name == last):
            rule = f"element {element.name} has rows of varying length (a list) before the end of element {last}"
            raise FormatError(path, "header", rule, "write the vertices first, without lists")
        if header.encoding == "ascii":
            needed += element.count * 2 * max(1, len(element.names)) - 1
        else:
            needed += element.count * element.row_bytes
        if needed > present:
            rule = f"declares {element.count:,} rows of element {element.name}, but the file ends before the last"
            raise FormatError(path, "header", rule, DAMAGED)
    is_end = index == len(header.elements) - 1 and header.encoding != "ascii"
    if is_end and present - needed >= max(1, header.elements[index].row_bytes):
        rule = f"{present - needed:,} bytes follow the last declared row: the counts of the header are too small"
        raise FormatError(path, "end", rule, REEXPORT)


def blocks(path: Path, header: Header, element: Element) -> Iterator[tuple[int, np.ndarray]]:
    """The rows of `element` as record arrays of a few MB, each with the index of its first row.

    A block is overwritten by the next one: copy what must stay.
    """
    with open(path, "rb") as file:
        file.seek(header.size)
        if header.encoding == "ascii":
            yield from _ascii_blocks(path, header, element, file)
            return
        for before in header.elements[: header.elements.index(element)]:
            file.seek(before.count * before.row_bytes, 1)
        dtype = element.dtype(header.encoding)
        rows = max(1, min(element.count, BLOCK_BYTES // dtype.itemsize))
        buffer = np.empty(rows, dtype)
        for start in range(0, element.count, rows):
            block = buffer[: min(rows, element.count - start)]
            if file.readinto(block.view(np.uint8).data) != block.nbytes:
                raise FormatError(path, f"{element.name} {start}", "the file ends inside its rows", DAMAGED)
            yield start, block


def matrix(block: np.ndarray, element: Element) -> np.ndarray | None:
    """A block whose properties are all little-endian float32, as [rows, properties] without a copy; else None."""
    if set(element.types) != {"f4"} or block.dtype[0].byteorder not in "<=":
        return None
    return block.view(np.float32).reshape(len(block), len(element.names))


def _ascii_blocks(path: Path, header: Header, element: Element, file: BinaryIO) -> Iterator[tuple[int, np.ndarray]]:
    for before in header.elements[: header.elements.index(element)]:
        for _ in range(before.count):
            if file.readline() == b"":
                raise FormatError(path, before.name, "the file ends inside its rows", DAMAGED)
    columns = len(element.names)
    rows = max(1, (1 << 17) // columns)
    for start in range(0, element.count, rows):
        count = min(rows, element.count - start)
        words = b"".join(file.readline() for _ in range(count)).split()
        if len(words) != count * columns:
            rule = f"its {count:,} lines hold {len(words):,} numbers, not {columns} each"
            raise FormatError(path, f"{element.name} {start}..{start + count - 1}", rule, DAMAGED)
        try:
            table = np.fromiter(map(float, words), np.float64, len(words)).reshape(count, columns)
        except ValueError as error:
            raise FormatError(path, f"{element.name} {start}..{start + count - 1}", str(error), DAMAGED) from error
        block = np.empty(count, element.dtype("="))
        for index, name in enumerate(element.names):
            block[name] = table[:, index]
        yield start, block


def _element(path: Path, place: str, words: list[str]) -> Element:
    count = int(words[2]) if len(words) == 3 and words[2].isdecimal() and len(words[2]) <= 18 else -1
    if count < 0:
        raise FormatError(path, place, "an element line must be `element NAME COUNT`", DAMAGED)
    return Element(words[1], count, (), ())


def _with_property(path: Path, place: str, element: Element, words: list[str]) -> Element:
    is_list = len(words) == 5 and words[1] == "list"
    code = "list" if is_list else _TYPES.get(words[1]) if len(words) == 3 else None
    if code is None or words[-1] in element.names:
        rule = f"{ascii(' '.join(words)[:60])} must be `property TYPE NAME`, with a PLY type and a name not yet used"
        raise FormatError(path, place, rule, DAMAGED)
    return Element(element.name, element.count, (*element.names, words[-1]), (*element.types, code))
