"""Settings as they are written: a tree of values, each of which knows where it was set."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]


def dotted(path: KeyPath) -> str:
    """Return a key path as it is shown: ``universe.symbols[0]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was set.

    Attributes:
        place: as messages name it, for instance ``config.yaml:12`` or ``set by --set``.
        text: the value as written, where nothing tells text from number: the environment and
            the command line have no quotes. None where the value is what it looks like.
        variable: the environment variable that a file refers to for it; None where none.
    """

    place: str
    text: str | None = field(default=None, repr=False)
    variable: str | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """A value and where it was set.

    Attributes:
        value: a scalar, a list of `Given`, or a dict of `Given` by key.
        origin: where it was set.
        expands: whether ``${NAME}`` in it stands for an environment variable.
        quoted: whether it is text whatever it looks like.
    """

    value: Any = field(repr=False)
    origin: Origin
    expands: bool = False
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: the key it is about, and the whole line that tells of it."""

    path: KeyPath
    line: str


class Origins:
    """Tells where each setting was set."""

    def __init__(self, tree: Given | None = None) -> None:
        self._tree = tree

    def at(self, path: KeyPath) -> Origin | None:
        """Return where a key was set, or the nearest section above it that was."""
        origin, node = None, self._tree
        for part in path:
            if node is None:
                break
            node = _child(node, part)
            origin = node.origin if node is not None else origin
        return origin

    def text_at(self, path: KeyPath) -> str | None:
        """Return a value as it was written, where it may as well be meant as text."""
        node = self._tree
        for part in path:
            node = None if node is None else _child(node, part)
        return None if node is None else node.origin.text


def _child(node: Given, part: str | int) -> Given | None:
    inner = node.value
    if isinstance(inner, dict):
        return inner.get(part)
    is_index = isinstance(inner, list) and isinstance(part, int) and part < len(inner)
    return inner[part] if is_index else None


def plain(given: Given) -> Any:  # noqa: ANN401  # whatever YAML can hold
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


def put(tree: Given, path: tuple[str, ...], given: Given) -> Given:
    """Return a tree of maps with one value added or replaced."""
    if not path:
        return given
    inner = tree.value if isinstance(tree.value, dict) else {}
    below = inner.get(path[0], Given({}, given.origin))
    return Given({**inner, path[0]: put(below, path[1:], given)}, tree.origin)
