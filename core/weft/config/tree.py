"""A tree of settings, each value with the place where it was set."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]


def dotted(path: KeyPath) -> str:
    """Return a key path as text: ``universe.symbols[0]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was set.

    Attributes:
        place: the place as messages name it: ``config.yaml:12`` or ``set by --set``.
        text: the value as written, where text and number look alike because the environment and
            the command line have no quotes; None otherwise.
        variable: the environment variable behind the value, if any.
    """

    place: str
    text: str | None = field(default=None, repr=False)
    variable: str | None = None


@dataclass(frozen=True, slots=True)
class TreeNode:
    """One value of the tree and where it was set.

    Attributes:
        value: a scalar, a list of nodes, or a dict of nodes by key.
        origin: where the value was set.
        expands: whether ``${NAME}`` in the value means an environment variable.
        quoted: whether the value is text even if it looks like a number.
    """

    value: Any = field(repr=False)
    origin: Origin
    expands: bool = False
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in the settings: its key, and the message in one line."""

    path: KeyPath
    line: str


class Origins:
    """Places where settings were set."""

    def __init__(self, tree: TreeNode | None = None) -> None:
        self._tree = tree

    def at(self, path: KeyPath) -> Origin | None:
        """Return where a key was set, or else where its nearest section was."""
        origin, node = None, self._tree
        for part in path:
            if node is None:
                break
            node = _child(node, part)
            origin = node.origin if node is not None else origin
        return origin

    def text_at(self, path: KeyPath) -> str | None:
        """Return a value as written, where it may be meant as text; None otherwise."""
        node = self._tree
        for part in path:
            node = None if node is None else _child(node, part)
        return None if node is None else node.origin.text


def _child(node: TreeNode, part: str | int) -> TreeNode | None:
    inner = node.value
    if isinstance(inner, dict):
        return inner.get(part)
    is_index = isinstance(inner, list) and isinstance(part, int) and part < len(inner)
    return inner[part] if is_index else None


def plain(given: TreeNode) -> Any:  # noqa: ANN401  # whatever YAML can hold
    """Return the values of a tree without their origins."""
    if isinstance(given.value, dict):
        return {key: plain(inner) for key, inner in given.value.items()}
    if isinstance(given.value, list):
        return [plain(inner) for inner in given.value]
    return given.value


def leaves(values: object, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Yield every scalar of plain values with its key path."""
    if isinstance(values, Mapping):
        for key, inner in values.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(values, list | tuple):
        for index, inner in enumerate(values):
            yield from leaves(inner, (*path, index))
    else:
        yield path, values


def put(tree: TreeNode, path: tuple[str, ...], given: TreeNode) -> TreeNode:
    """Return a tree of maps with one value added or replaced."""
    if not path:
        return given
    inner = tree.value if isinstance(tree.value, dict) else {}
    below = inner.get(path[0], TreeNode({}, given.origin))
    return TreeNode({**inner, path[0]: put(below, path[1:], given)}, tree.origin)
