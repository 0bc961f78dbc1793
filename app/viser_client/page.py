"""What a page keeps of what the server told it: controls, commands, notifications, its own storage. No socket here.

Read from the server: every Gui...Message with a `container_uuid` (controls, folders, tab groups), GuiPanelMessage,
GuiModalMessage, GuiUpdateMessage, GuiRemoveMessage, GuiPanelRemoveMessage, GuiCloseModalMessage, ResetGuiMessage;
RegisterCommandMessage, CommandUpdateMessage, RemoveCommandMessage; NotificationShowMessage, NotificationUpdateMessage,
RemoveNotificationMessage; LocalStorageSetItemMessage, LocalStorageRemoveItemMessage, LocalStorageClearMessage;
FileTransferPartAck (our uploads), FileTransferStartDownload and FileTransferPart (files for the person to save);
ScenePointerEnableMessage; of the 3D scene the messages that make and remove nodes, kept as they came.
"""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image

from .wire import Message

SEPARATOR = "/"  # between the names of folders and tabs and the label of a control


@dataclass(frozen=True)
class Control:
    """One element of the panels."""

    uuid: str
    kind: str
    """viser's message without `Gui` and `Message`: Slider, Button, Dropdown, Checkbox, Markdown, Folder, ..."""
    container: str
    value: Any
    props: dict[str, Any]

    @property
    def label(self) -> str:
        """The text beside it; empty for those that have none."""
        return str(self.props.get("label") or "")

    @property
    def text(self) -> str:
        """What it shows: the markup of Markdown and Html, else the value."""
        for name in ("_markdown", "content"):
            if name in self.props:
                return str(self.props[name])
        return "" if self.value is None else str(self.value)


@dataclass(frozen=True)
class Notification:
    """A message in the corner, as it stands now."""

    title: str
    body: str
    color: Any = None
    shown: bool = True
    """False once the server has taken it away."""


@dataclass(frozen=True)
class Picture:
    """One background image as it came."""

    arrived: float
    """`time.perf_counter()` when its batch had been read."""
    data: bytes
    format: str
    depth: bytes | None

    def pixels(self) -> np.ndarray:
        """[H, W, 3] uint8."""
        return np.asarray(Image.open(io.BytesIO(self.data)).convert("RGB"))


@dataclass
class Page:
    """The state of one tab."""

    controls: dict[str, Control] = field(default_factory=dict)
    commands: dict[str, dict[str, Any]] = field(default_factory=dict)
    notifications: dict[str, Notification] = field(default_factory=dict)
    storage: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By transfer: the bytes that the server has acknowledged, and of how many."""
    downloads: dict[str, bytes] = field(default_factory=dict)
    """By file name: the files that have come whole."""
    nodes: dict[str, Message] = field(default_factory=dict)
    """By name: the message that made each node of the 3D scene."""
    pointer_modifiers: dict[tuple[str, str], list[str | None]] = field(default_factory=dict)
    """By gesture and scope: the modifier keys with which the server wants to hear of it."""
    received: Counter[str] = field(default_factory=Counter)
    """How many messages of each type have come."""

    _incoming: dict[str, tuple[str, int, list[bytes]]] = field(default_factory=dict)

    def apply(self, message: Message) -> None:
        """Take in one message from the server."""
        kind = message["type"]
        self.received[kind] += 1
        if kind.startswith("Gui"):
            self._apply_gui(kind, message)
        elif kind == "ResetGuiMessage":
            self.controls.clear()
        elif "Command" in kind:
            self._apply_command(kind, message)
        elif "Notification" in kind:
            self._apply_notification(kind, message)
        elif kind.startswith("LocalStorage"):
            self._apply_storage(kind, message)
        elif kind.startswith("FileTransfer"):
            self._apply_file(kind, message)
        elif kind == "ScenePointerEnableMessage":
            self.pointer_modifiers[message["event_type"], message.get("owner", "")] = message["modifiers"]
        elif kind == "RemoveSceneNodeMessage":
            self.nodes.pop(message["name"], None)
        elif "name" in message and "props" in message:
            self.nodes[message["name"]] = message

    def _apply_command(self, kind: str, message: Message) -> None:
        if kind == "RegisterCommandMessage":
            self.commands[message["uuid"]] = message["props"]
        elif kind == "CommandUpdateMessage":
            self.commands.setdefault(message["uuid"], {}).update(message["updates"])
        elif kind == "RemoveCommandMessage":
            self.commands.pop(message["uuid"], None)

    def _apply_notification(self, kind: str, message: Message) -> None:
        if kind in ("NotificationShowMessage", "NotificationUpdateMessage"):
            props = message["props"]
            self.notifications[message["uuid"]] = Notification(props["title"], props["body"], props["color"])
        elif kind == "RemoveNotificationMessage" and message["uuid"] in self.notifications:
            self.notifications[message["uuid"]] = replace(self.notifications[message["uuid"]], shown=False)

    def _apply_storage(self, kind: str, message: Message) -> None:
        if kind == "LocalStorageSetItemMessage":
            self.storage[message["key"]] = message["value"]
        elif kind == "LocalStorageRemoveItemMessage":
            self.storage.pop(message["key"], None)
        elif kind == "LocalStorageClearMessage":
            self.storage.clear()

    def _apply_file(self, kind: str, message: Message) -> None:
        transfer = message["transfer_uuid"]
        if kind == "FileTransferPartAck":
            self.uploads[transfer] = (message["transferred_bytes"], message["total_bytes"])
        elif kind == "FileTransferStartDownload":
            self._incoming[transfer] = (message["filename"], message["part_count"], [])
        elif kind == "FileTransferPart" and transfer in self._incoming:
            self._incoming[transfer][2].append(message["content"])
        if transfer in self._incoming:
            filename, part_count, parts = self._incoming[transfer]
            if len(parts) == part_count:
                self.downloads[filename] = b"".join(parts)
                del self._incoming[transfer]

    def _apply_gui(self, kind: str, message: Message) -> None:
        uuid = message.get("uuid", "")
        if kind == "GuiUpdateMessage":
            if uuid in self.controls:
                self.controls[uuid] = _updated(self.controls[uuid], message["updates"])
        elif kind in ("GuiRemoveMessage", "GuiPanelRemoveMessage", "GuiCloseModalMessage"):
            self.controls.pop(uuid, None)
        elif kind == "GuiModalMessage":
            self.controls[uuid] = Control(uuid, "Modal", "", None, {"label": message["title"]})
        elif "props" in message:
            name = kind.removeprefix("Gui").removesuffix("Message")
            container = message.get("container_uuid", "")
            self.controls[uuid] = Control(uuid, name, container, message.get("value"), dict(message["props"]))

    def path(self, control: Control) -> str:
        """The names of the panels, tabs and folders that a control lies in and its label, joined by slashes."""
        names = [control.label]
        containers = self._containers()
        while control.container in containers:
            name, uuid = containers[control.container]
            names.append(name)
            control = self.controls[uuid]
        return SEPARATOR.join(name for name in reversed(names) if name != "")

    def find(self, label: str) -> Control:
        """The control of this label, or of this end of a path ("Display/Mode"). Raises: `LookupError`."""
        paths = {uuid: self.path(control) for uuid, control in self.controls.items()}
        ends = {uuid for uuid, path in paths.items() if f"{SEPARATOR}{path}".endswith(f"{SEPARATOR}{label}")}
        if len(ends) == 1:
            return self.controls[ends.pop()]
        if len(ends) == 0:
            raise LookupError(f"no control {label!r}; there are {sorted(filter(None, paths.values()))}")
        raise LookupError(f"{label!r} is the label of {sorted(paths[uuid] for uuid in ends)}; say which by its path")

    def find_command(self, label: str) -> str:
        """The uuid of a command of the palette. Raises: `LookupError`."""
        found = [uuid for uuid, props in self.commands.items() if props.get("label") == label]
        if len(found) != 1:
            labels = sorted(str(props.get("label")) for props in self.commands.values())
            raise LookupError(f"{len(found)} commands {label!r}; there are {labels}")
        return found[0]

    def _containers(self) -> dict[str, tuple[str, str]]:
        """The name and the control behind each container: a folder is its own, tabs have one each."""
        containers = {uuid: (control.label, uuid) for uuid, control in self.controls.items()}
        for uuid, control in self.controls.items():
            tabs = zip(control.props.get("_tab_container_ids", ()), control.props.get("_tab_labels", ()), strict=False)
            containers.update({container: (name, uuid) for container, name in tabs})
        return containers


def _updated(control: Control, updates: dict[str, Any]) -> Control:
    props = {name: value for name, value in updates.items() if name != "value"}
    value = updates.get("value", control.value)
    return replace(control, value=value, props={**control.props, **props})
