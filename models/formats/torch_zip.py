"""Reading what torch.save wrote, without running what is in it.

The file is a zip: data.pkl says how things hang together, data/KEY holds the numbers of a storage. The pickle is a
program; the interpreter here knows the few instructions that build lists, dicts and numbers, and the few names that
stand for tensors. Names are compared, never imported; anything else ends the reading with a sentence. Tensors stay in
the file until they are asked for.
Source: the pickle protocol as Python's pickletools documents it; the layout of PyTorch's serialisation notes.
"""

from __future__ import annotations

import errno
import io
import math
import pickletools
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .errors import DAMAGED, FormatError

LARGEST_PICKLE = 8 << 20
"""That of a model with its optimiser has some 100 KB."""
HOSTILE = "it is no plain checkpoint: do not load it with torch.load either"

_STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip
_TENSORS = {"torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor"}
_PARAMETER = "torch._utils._rebuild_parameter"
_DICTS = {"collections.OrderedDict", "collections.defaultdict"}
_IGNORED = {
    "_codecs.encode", "builtins.dict", "numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar",
    "torch.Size", "torch.device",
}  # fmt: skip
"""Names whose values no reader here has a use for: single numbers of schedulers and the like."""


_NO_ZIP = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError)
"""What zipfile raises for files that are none, or damaged."""
_NO_PICKLE = (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, DeprecationWarning)
"""What pickletools and the machine raise for programs that make no sense; the last where warnings are errors."""


@dataclass(frozen=True)
class Name:
    """A name that stands in the file, such as torch.FloatStorage. It is never looked up."""

    full: str


@dataclass(frozen=True)
class Ignored:
    """In place of a value that is not read."""

    of: str


@dataclass(frozen=True)
class Storage:
    """Numbers in the file."""

    key: str
    dtype: torch.dtype
    count: int


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that is still in the file."""

    path: Path
    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def load(self) -> torch.Tensor:
        """The numbers, contiguous.

        Raises:
            FormatError: they are not in the file as it claims.
            OSError: it cannot be read.
        """
        size = self.storage.dtype.itemsize
        data = _entry(self.path, f"data/{self.storage.key}", self.storage.count * size)
        if len(data) != self.storage.count * size:
            rule = f"has {len(data):,} bytes, its {self.storage.count:,} numbers have {self.storage.count * size:,}"
            raise FormatError(self.path, f"storage {self.storage.key}", rule, DAMAGED)
        if math.prod(self.shape) == 0:
            return torch.zeros(self.shape, dtype=self.storage.dtype)
        kept = np.frombuffer(data, np.uint8).copy()
        flat = torch.from_numpy(kept).view(self.storage.dtype)
        return torch.as_strided(flat, self.shape, self.stride, self.offset).contiguous()


def is_torch_zip(path: Path) -> bool:
    """Whether a zip is one that torch.save wrote."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    except _NO_ZIP:
        return False


def read(path: Path) -> Any:
    """What was saved: dicts, lists, numbers, texts, and a `StoredTensor` for every tensor.

    Raises:
        FormatError: it is no such file, it is damaged, or it asks for something to be run.
        OSError: it cannot be read.
    """
    order = _entry(path, "byteorder", 16, required=False)
    if order not in (b"", b"little"):
        raise FormatError(path, "byteorder", f"is {order!r}, only little is read", "save it on another machine")
    return _Machine(path).run(_entry(path, "data.pkl", LARGEST_PICKLE))


def _entry(path: Path, name: str, most: int, *, required: bool = True) -> bytes:
    """An entry of the zip, below its one folder."""
    try:
        with zipfile.ZipFile(path) as archive:
            folder = next((n[: -len("/data.pkl")] for n in archive.namelist() if n.endswith("/data.pkl")), None)
            full = f"{folder}/{name}"
            if folder is None or full not in archive.NameToInfo:
                if not required:
                    return b""
                raise FormatError(path, name, "is not in the file", "give a checkpoint that torch.save wrote")
            info = archive.getinfo(full)
            if info.compress_type != zipfile.ZIP_STORED or info.file_size > most:
                rule = f"has {info.file_size:,} bytes, must be stored plain with at most {most:,}"
                raise FormatError(path, name, rule, DAMAGED)
            return archive.read(info)
    except FormatError:
        raise
    except _NO_ZIP as error:
        raise FormatError(path, "zip", str(error) or type(error).__name__, DAMAGED) from error
    except OSError as error:
        # A place before the file's beginning, which the zip's own table can name.
        if error.errno == errno.EINVAL:
            raise FormatError(path, "zip", "its table points outside the file", DAMAGED) from error
        raise


class _Mark:
    """What the pickle puts on the stack before the items of a list."""


class _Machine:
    """The stack and memo of a pickle, and the instructions that torch.save uses."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, pickle: bytes) -> Any:
        """The value on the stack when the pickle stops."""
        try:
            for opcode, argument, _ in pickletools.genops(io.BytesIO(pickle)):
                if opcode.name == "STOP":
                    return self.stack.pop()
                step = _STEPS.get(opcode.name)
                if step is None:
                    rule = f"has the instruction {opcode.name}, which no plain checkpoint has"
                    raise FormatError(self.path, "data.pkl", rule, HOSTILE)
                step(self, argument)
        except _NO_PICKLE as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(self.path, "data.pkl", f"it is no valid pickle ({error})", DAMAGED) from error
        raise FormatError(self.path, "data.pkl", "it has no end", DAMAGED)

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def since_mark(self) -> list[Any]:
        """All that was put on the stack after the last mark, which goes too."""
        at = len(self.stack) - 1
        while not isinstance(self.stack[at], _Mark):
            at -= 1
            if at < 0:
                raise ValueError("a list has no beginning")
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def pop(self) -> None:
        self.take(1)

    def take(self, count: int) -> tuple[Any, ...]:
        if count > len(self.stack):
            raise ValueError("the stack is empty")
        items = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        return items

    def set_items(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict | Ignored):
            raise ValueError("items are set on what is no dict")
        if isinstance(target, dict):
            target.update(zip(pairs[::2], pairs[1::2], strict=True))

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise ValueError("items are added to what is no list")
        target.extend(items)

    def name(self, module: Any, name: Any) -> None:
        """A name is kept as such where it is known, and refused where it is not."""
        full = f"{module}.{name}"
        known = full in _TENSORS | _DICTS | _IGNORED | {_PARAMETER}
        if not known and not (module == "torch" and name in _STORAGES):
            raise FormatError(self.path, "data.pkl", f"it asks for {full} to be called", HOSTILE)
        self.push(Name(full))

    def call(self) -> None:
        """What a known name makes of its arguments."""
        name, arguments = self.take(2)
        if not isinstance(name, Name) or not isinstance(arguments, tuple):
            raise ValueError("something is called that is no name")
        if name.full in _TENSORS:
            self.push(self._tensor(*arguments[:4]))
        elif name.full == _PARAMETER:
            self.push(arguments[0])
        elif name.full in _DICTS:
            self.push({})
        else:
            self.push(Ignored(name.full))

    def build(self) -> None:
        """Attributes of an object (a state_dict's versions) are of no use here."""
        self.take(1)

    def storage(self) -> None:
        """The stored numbers that a persistent id names."""
        (value,) = self.take(1)
        kind, name, key, _, count = value
        if kind != "storage" or not isinstance(name, Name) or not isinstance(key, str) or type(count) is not int:
            raise ValueError("a persistent id is no storage")
        if not key.isalnum() or not 0 <= count < 1 << 40:
            raise ValueError(f"storage {key!r} of {count} numbers")
        self.push(Storage(key, _STORAGES[name.full.removeprefix("torch.")], count))

    def _tensor(self, storage: Any, offset: Any, shape: Any, stride: Any) -> StoredTensor:
        numbers = (offset, *shape, *stride)
        if not isinstance(storage, Storage) or any(type(n) is not int or not 0 <= n < 1 << 40 for n in numbers):
            raise ValueError("a tensor is not made of a storage and sizes")
        last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
        if len(shape) > 16 or math.prod(shape) > storage.count or (math.prod(shape) > 0 and last >= storage.count):
            raise ValueError(f"a tensor of {list(shape)} does not lie in its storage of {storage.count}")
        return StoredTensor(self.path, storage, offset, tuple(shape), tuple(stride))


def _memoize(machine: _Machine, argument: Any) -> None:
    machine.memo[len(machine.memo) if argument is None else argument] = machine.stack[-1]


def _ignore(machine: _Machine, argument: Any) -> None:
    pass


def _tuple(machine: _Machine, count: int | None) -> None:
    machine.push(tuple(machine.since_mark()) if count is None else machine.take(count))


_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _ignore,
    "FRAME": _ignore,
    "MARK": lambda machine, _: machine.push(_Mark()),
    "POP": lambda machine, _: machine.pop(),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE": lambda machine, _: _tuple(machine, None),
    "TUPLE1": lambda machine, _: _tuple(machine, 1),
    "TUPLE2": lambda machine, _: _tuple(machine, 2),
    "TUPLE3": lambda machine, _: _tuple(machine, 3),
    "SETITEM": lambda machine, _: machine.set_items(list(machine.take(2))),
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "APPEND": lambda machine, _: machine.append(list(machine.take(1))),
    "APPENDS": lambda machine, _: machine.append(machine.since_mark()),
    "GLOBAL": lambda machine, argument: machine.name(*argument.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.name(*machine.take(2)),
    "REDUCE": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.build(),
    "BINPERSID": lambda machine, _: machine.storage(),
    "BINPUT": _memoize,
    "LONG_BINPUT": _memoize,
    "MEMOIZE": _memoize,
    "BINGET": lambda machine, argument: machine.push(machine.memo[argument]),
    "LONG_BINGET": lambda machine, argument: machine.push(machine.memo[argument]),
    **dict.fromkeys(
        ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES",
         "SHORT_BINBYTES", "BINSTRING", "SHORT_BINSTRING"),
        lambda machine, argument: machine.push(argument),
    ),
}  # fmt: skip
"""What each instruction does. Those that are not here (INST, OBJ, NEWOBJ, EXT1, ...) make objects by name."""
