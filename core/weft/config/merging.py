"""Merges sources of settings, and parses overrides."""

import re
from collections.abc import Mapping, Sequence

from weft.config.settings import SINGLE_SLOTS, SLOT_MAPS, may_be_null
from weft.config.tree import Origin, Problem, TreeNode, put
from weft.config.yaml_text import read_value

ENVIRONMENT_PREFIX = "WEFT__"

_KEY = re.compile(r"[\w.\-]+")


def merge(
    base: TreeNode, over: TreeNode, path: tuple[str, ...] = (), *, in_order: bool = False
) -> TreeNode:
    """Return `base` overridden by `over`.

    Maps merge key by key; lists and scalars replace. A slot whose component changes loses all
    options of the earlier component. An empty section or slot changes nothing, unless null has a
    meaning there.

    Args:
        base: settings of lower precedence.
        over: settings of higher precedence.
        path: key path of both.
        in_order: whether keys that both have take the order of `over`; the order of providers is
            their preference.
    """
    if over.value is None and isinstance(base.value, dict) and _is_ignored_when_empty(path):
        return base
    if not (isinstance(base.value, dict) and isinstance(over.value, dict)):
        return over
    if is_slot(path) and _component(over, _component(base, path[-1])) != _component(base, path[-1]):
        return over
    merged = dict.fromkeys(_ordered(base, over) if in_order else base.value) | base.value
    for key, given in over.value.items():
        below = base.value.get(key)
        merged[key] = (
            given if below is None else merge(below, given, (*path, key), in_order=in_order)
        )
    return TreeNode(merged, over.origin)


def _ordered(base: TreeNode, over: TreeNode) -> list[str]:
    """Return the keys of `base`; keys that `over` has too follow the order of `over`."""
    shared = iter([key for key in over.value if key in base.value])
    return [next(shared) if key in over.value else key for key in base.value]


def is_slot(path: Sequence[str | int]) -> bool:
    """Return whether a key path names a slot."""
    if len(path) == 1:
        return path[0] in SINGLE_SLOTS
    return len(path) == 2 and path[0] in SLOT_MAPS


def _is_ignored_when_empty(path: tuple[str, ...]) -> bool:
    return not may_be_null(path[0]) if len(path) == 1 else is_slot(path)


def _component(slot: TreeNode, default: object) -> object:
    use = slot.value.get("use")
    return default if use is None else use.value


def from_environment(environ: Mapping[str, str], below: TreeNode) -> tuple[TreeNode, list[Problem]]:
    """Return the settings in ``WEFT__SECTION__KEY=value`` variables.

    Args:
        environ: the environment.
        below: settings that the variables override. Variables have no case and no hyphens, so
            existing keys are matched without regard to either.
    """
    tree = TreeNode({}, Origin("environment"))
    problems: list[Problem] = []
    for variable, text in sorted(environ.items()):
        if not variable.upper().startswith(ENVIRONMENT_PREFIX):
            continue
        words = variable[len(ENVIRONMENT_PREFIX) :].split("__")
        if not all(words):
            what = f"{variable}: expected WEFT__SECTION__KEY, with two underscores between keys"
            problems.append(Problem((), what))
            continue
        path = _spelled_as_below(words, below)
        tree = put(tree, path, read_value(text, f"set by {variable}", path))
    return tree, problems


def _spelled_as_below(words: Sequence[str], below: TreeNode) -> tuple[str, ...]:
    path = []
    node: TreeNode | None = below
    for word in words:
        inner = node.value if node is not None and isinstance(node.value, dict) else {}
        known = {_folded(key): key for key in inner}
        key = known.get(_folded(word), word.lower())
        path.append(key)
        node = inner.get(key)
    return tuple(path)


def _folded(key: str) -> str:
    return key.casefold().replace("-", "_")


def from_arguments(overrides: Sequence[str]) -> tuple[TreeNode, list[Problem]]:
    """Return the settings in ``key.path=value`` arguments; later arguments win."""
    tree = TreeNode({}, Origin("--set"))
    problems: list[Problem] = []
    for argument in overrides:
        key, equals, text = argument.partition("=")
        path = tuple(key.strip().split("."))
        if not equals or not all(path) or not _KEY.fullmatch(key.strip()):
            # The rest of the argument may be a secret.
            start = _KEY.match(argument)
            shown = f"--set {start[0]}" if start else "--set"
            problems.append(
                Problem((), f"{shown}: expected key.path=value, such as server.port=8400")
            )
            continue
        tree = put(tree, path, read_value(text.strip(), "set by --set", path, expands=True))
    return tree, problems
