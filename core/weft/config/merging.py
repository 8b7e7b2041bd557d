"""Laying one source of settings over another, and reading overrides."""

import re
from collections.abc import Mapping, Sequence

from weft.config.settings import SINGLE_SLOTS, SLOT_MAPS, may_be_null
from weft.config.tree import Given, Origin, Problem, put
from weft.config.yaml_text import read_value

ENVIRONMENT_PREFIX = "WEFT__"

_KEY = re.compile(r"[\w.\-]+")


def merge(base: Given, over: Given, path: tuple[str, ...] = (), *, in_order: bool = False) -> Given:
    """Return `base` with `over` laid over it.

    Maps merge key by key; lists and scalars replace. A slot whose component changes starts from
    nothing, so that no option of the old component reaches the new one. A section or slot left
    empty says nothing, unless null means something there.

    Args:
        base: what is laid over.
        over: what wins.
        path: where both stand.
        in_order: whether the keys of `over` that `base` has too take their order from `over`;
            the order of providers is that of preference.
    """
    if over.value is None and isinstance(base.value, dict) and _says_nothing(path):
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
    return Given(merged, over.origin)


def _ordered(base: Given, over: Given) -> list[str]:
    """Return the keys of `base`, those that `over` has too in the order of `over`."""
    shared = iter([key for key in over.value if key in base.value])
    return [next(shared) if key in over.value else key for key in base.value]


def is_slot(path: Sequence[str | int]) -> bool:
    """Return whether a key path is that of a slot."""
    if len(path) == 1:
        return path[0] in SINGLE_SLOTS
    return len(path) == 2 and path[0] in SLOT_MAPS


def _says_nothing(path: tuple[str, ...]) -> bool:
    return not may_be_null(path[0]) if len(path) == 1 else is_slot(path)


def _component(slot: Given, default: object) -> object:
    use = slot.value.get("use")
    return default if use is None else use.value


def from_environment(environ: Mapping[str, str], below: Given) -> tuple[Given, list[Problem]]:
    """Return what ``WEFT__SECTION__KEY=value`` variables set.

    Args:
        environ: the environment.
        below: settings the variables will be laid over. Variables know no case and no hyphen;
            keys that are there already are recognised whatever theirs are.
    """
    tree = Given({}, Origin("environment"))
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


def _spelled_as_below(words: Sequence[str], below: Given) -> tuple[str, ...]:
    path = []
    node: Given | None = below
    for word in words:
        inner = node.value if node is not None and isinstance(node.value, dict) else {}
        known = {_folded(key): key for key in inner}
        key = known.get(_folded(word), word.lower())
        path.append(key)
        node = inner.get(key)
    return tuple(path)


def _folded(key: str) -> str:
    return key.casefold().replace("-", "_")


def from_arguments(overrides: Sequence[str]) -> tuple[Given, list[Problem]]:
    """Return what ``key.path=value`` arguments set; later ones win."""
    tree = Given({}, Origin("--set"))
    problems: list[Problem] = []
    for argument in overrides:
        key, equals, text = argument.partition("=")
        path = tuple(key.strip().split("."))
        if not equals or not all(path) or not _KEY.fullmatch(key.strip()):
            # What follows the key may be a secret.
            start = _KEY.match(argument)
            shown = f"--set {start[0]}" if start else "--set"
            problems.append(
                Problem((), f"{shown}: expected key.path=value, such as server.port=8400")
            )
            continue
        tree = put(tree, path, read_value(text.strip(), "set by --set", path, expands=True))
    return tree, problems
