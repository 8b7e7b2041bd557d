"""Parses YAML 1.2 into a tree of values with line numbers. Messages never quote a value."""

import re
import unicodedata
from typing import TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from weft.config.tree import KeyPath, Origin, Problem, TreeNode, dotted

Scalar: TypeAlias = bool | int | float | str | None

# The core schema of YAML 1.2, section 10.3.2: `no`, `on`, `1_000` and `2025-01-01` are text.
_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]+")
_BASED_INT = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

_TAG_PREFIX = "tag:yaml.org,2002:"
_TAGS = {"map", "seq", "str", "null", "bool", "int", "float", "timestamp", "merge", "value"}
_MOST_DIGITS = 300  # Python refuses to read an integer of thousands of digits
# Spaces that look like the plain one, and are part of a word in YAML.
_ODD_SPACE = re.compile("[\u00a0\u1680\u2000-\u200b\u202f\u205f\u2060\u3000\ufeff]")
_QUOTED = re.compile(r"'([^']*)'")
_MESSAGES = {
    r"'\t'": "a tab; YAML is indented with spaces",
    "mapping values are not allowed": (
        "a second `: ` on the line, or a wrong indent; put text that holds `: ` in quotes"
    ),
    "another document": "a second document (---); one file is one configuration",
    "undefined alias": "an alias (*) of nothing; put text that starts with * in quotes",
    "but got '{'": "a { inside [ ] or { }; put ${NAME} in quotes there",
    "flow sequence": "a [ that is not closed, or a comma is missing",
    "flow mapping": "a { that is not closed, or a comma is missing",
    "unexpected end of stream": "a quote that is not closed",
    "unknown escape": "a backslash in double quotes; write single quotes, or two backslashes",
    "cannot start any token": "text that starts with @, % or ` has to stand in quotes",
    "<block end>": "a wrong indent, or something after a closing quote or bracket",
    "<document start>": "a wrong indent: less than on the lines above",
}
"""Messages in place of those of the YAML library, by a part of the latter."""


def read_scalar(text: str) -> Scalar:
    """Return the value of an unquoted scalar."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text) and len(text) < _MOST_DIGITS:
        return int(text)
    if _BASED_INT.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    return float(text.replace(".", "")) if _NO_NUMBER.fullmatch(text) else text


def read_value(text: str, origin: str, path: KeyPath, *, expands: bool = False) -> TreeNode:
    """Return the value of an override: a YAML scalar, or a list or map in flow style.

    Text that is no valid list or map stays text, since a password may begin with a bracket.

    Args:
        text: the value as written.
        origin: its place, as messages name it.
        path: its key.
        expands: whether ``${NAME}`` in it means an environment variable.
    """
    place = Origin(origin, text)
    if text.startswith(("[", "{", '"', "'")):
        try:
            node = YAML(typ="safe", pure=True).compose(text)
        except YAMLError:
            return TreeNode(text, place, expands)
        problems: list[Problem] = []
        given = _Reader(None, origin, problems, expands=expands).read(node, path, place)
        return TreeNode(text, place, expands) if problems else given
    return TreeNode(read_scalar(text), place, expands)


def read_document(text: str, name: str) -> tuple[TreeNode, list[Problem]]:
    """Return the tree of a file, and the mistakes in its YAML.

    Args:
        text: content of the file.
        name: name of the file in messages.
    """
    problems: list[Problem] = []
    empty = TreeNode({}, Origin(name))
    try:
        node = YAML(typ="safe", pure=True).compose(text)
    except YAMLError as error:
        problems.append(_syntax_problem(error, name))
        node = None
    if node is None:
        return empty, problems
    tree = _Reader(name, "", problems, expands=True).read(node, (), Origin(name))
    if not isinstance(tree.value, dict):
        line = f"{name}:1: expected keys and values at the top, such as `interval: 1h`"
        return empty, [*problems, Problem((), line)]
    return tree, problems


class _Reader:
    """Turns YAML nodes into values.

    Args:
        name: the file, None for an override.
        origin: place of the values of an override.
        problems: list to which mistakes are added.
        expands: whether ``${NAME}`` in the values means an environment variable.
    """

    def __init__(
        self, name: str | None, origin: str, problems: list[Problem], *, expands: bool
    ) -> None:
        self._expands = expands
        self._name = name
        self._origin = origin
        self._problems = problems
        self._open: set[int] = set()

    def read(self, node: Node, path: KeyPath, origin: Origin) -> TreeNode:
        """Return the value of a YAML node under the key `path`."""
        if str(node.tag).removeprefix(_TAG_PREFIX) not in _TAGS:
            self._report(path, node, "tags (a word after !) have no meaning here; leave it out")
        if isinstance(node, ScalarNode):
            return self._scalar(node, origin)
        if id(node) in self._open:
            self._report(path, node, "contains itself; an alias must not lie inside its anchor")
            return TreeNode(None, origin)
        self._open.add(id(node))
        given = TreeNode(self._inside(node, path), origin)
        self._open.remove(id(node))
        return given

    def _inside(self, node: Node, path: KeyPath) -> dict[str, TreeNode] | list[TreeNode]:
        if isinstance(node, MappingNode):
            return self._map(node, path)
        assert isinstance(node, SequenceNode)  # noqa: S101  # YAML has no fourth kind of node
        return [
            self.read(inner, (*path, index), self._at(inner))
            for index, inner in enumerate(node.value)
        ]

    def _map(self, node: MappingNode, path: KeyPath) -> dict[str, TreeNode]:
        values: dict[str, TreeNode] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self._report(path, key_node, "a key must be a plain word")
                continue
            key, line = str(key_node.value), key_node.start_mark.line + 1
            odd = _ODD_SPACE.search(key)
            if odd is not None:
                self._report((*path, key), key_node, _odd_space(odd[0]))
            if key in values:
                twice = f"written twice, first on line {lines[key]}; keep one of the two"
                self._report((*path, key), key_node, twice)
                continue
            lines[key] = line
            values[key] = self.read(value_node, (*path, key), self._at(key_node))
        return values

    def _scalar(self, node: ScalarNode, origin: Origin) -> TreeNode:
        text = str(node.value)
        is_text = str(node.tag) == f"{_TAG_PREFIX}str"
        quoted = node.style is not None or (is_text and read_scalar(text) != text)
        value = text if quoted else read_scalar(text)
        return TreeNode(value, origin, expands=self._expands, quoted=quoted)

    def _at(self, node: Node) -> Origin:
        if self._name is None:
            return Origin(self._origin)
        return Origin(f"{self._name}:{node.start_mark.line + 1}")

    def _report(self, path: KeyPath, node: Node, what: str) -> None:
        place = f"{self._name}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"
        self._problems.append(Problem(path, f"{dotted(path) or 'top level'}: {what} ({place})"))


def _syntax_problem(error: YAMLError, name: str) -> Problem:
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return Problem((), f"{name}: holds a character that YAML does not allow; save it as UTF-8")
    mark = error.problem_mark
    place = f"{name}:{mark.line + 1}:{mark.column + 1}"
    what = " ".join(part for part in (error.context, error.problem) if part)
    message = next((ours for theirs, ours in _MESSAGES.items() if theirs in what), None)
    return Problem((), f"{place}: {message or _QUOTED.sub(_hide_value, what)}")


def _odd_space(character: str) -> str:
    name = unicodedata.name(character, "an unusual space").lower()
    return (
        f"the key contains a character that looks like a space ({name}, U+{ord(character):04X}); "
        "replace it by a plain space"
    )


def _hide_value(match: re.Match[str]) -> str:
    """Return quoted signs and token kinds as they are; hide other text, which may be secret."""
    quoted = match[1]
    return match[0] if len(quoted) <= 1 or quoted.startswith("<") else "'…'"
