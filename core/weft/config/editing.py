"""Set keys in the text of a config file, and leave everything else as its author wrote it."""

import io
import re
from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import CommentMark
from ruamel.yaml.tokens import CommentToken

from weft.config.tree import KeyPath

_NO_WRAP: Final = 1 << 20
_NESTED: Final = re.compile(
    r"^( *)[\w.-]+:[^\n]*\n(?:\s*(?:#[^\n]*)?\n)*( *)(- )?[^\s#]", re.MULTILINE
)


def set_keys(text: str, changes: Mapping[KeyPath, Any]) -> str:
    r"""Return a YAML document with some keys set; comments and all other keys stay.

    Keys that the document has keep their place; a new key goes to the end of its section.

    Args:
        text: the document, a map of sections; empty for a new one.
        changes: plain values by key path: ``("providers", "files", "path")``.

    Example:
        >>> set_keys("interval: 4h  # mine\n", {("base_interval",): "1h"})
        'interval: 4h  # mine\nbase_interval: 1h\n'
    """
    yaml = _round_trip(text)
    document = yaml.load(text)
    if not document:
        # An empty map, or comments only, which no value could carry.
        comments = "\n".join(line for line in text.splitlines() if line.lstrip().startswith("#"))
        document = CommentedMap()
        unchanged = text = f"{comments}\n\n" if comments else ""
    else:
        unchanged, comments = _dump(yaml, document), ""
    for path, value in changes.items():
        _put(document, path, value)
    changed = _dump(yaml, document)
    return _merge(text, unchanged, f"{text}{changed}" if comments else changed)


def _round_trip(text: str) -> YAML:
    """Return a YAML reader and writer with the indents of a document."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = _NO_WRAP
    yaml.representer.add_representer(type(None), _represent_null)
    steps = [(len(m[2]) - len(m[1]), m[3]) for m in _NESTED.finditer(text)]
    mapping = next((step for step, dash in steps if not dash and step > 0), 2)
    offset = next((step for step, dash in steps if dash and step >= 0), 2)
    yaml.indent(mapping=mapping, sequence=offset + 2, offset=offset)
    return yaml


def _dump(yaml: YAML, document: CommentedMap) -> str:
    out = io.StringIO()
    yaml.dump(document, out)
    return out.getvalue()


def _merge(text: str, unchanged: str, changed: str) -> str:
    """Apply to a text the lines that changed between two normal forms of it.

    The YAML writer joins wrapped lines and aligns comments; only the changed lines may show that.
    """
    lines, before, after = (t.splitlines(keepends=True) for t in (text, unchanged, changed))
    blocks = SequenceMatcher(None, before, lines, autojunk=False).get_matching_blocks()
    merged, at = list[str](), 0
    for kind, i1, i2, j1, j2 in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        block = next((b for b in blocks if b.a <= i1 and i2 <= b.a + b.size), None)
        if block is None:
            return changed
        start = block.b + i1 - block.a
        merged += [*lines[at:start], *after[j1:j2]]
        at = start + i2 - i1
    return "".join([*merged, *lines[at:]])


def _put(section: CommentedMap, path: KeyPath, value: Any) -> None:  # noqa: ANN401  # whatever YAML can hold
    key, *below = path
    if not below:
        _set(section, key, _in_one_line(value))
        return
    if not section.get(key):
        # ruamel.yaml attaches the comment below a section to its last value: set a value now.
        first, *rest = below
        _set(section, key, CommentedMap({first: CommentedMap() if rest else _in_one_line(value)}))
    _put(section[key], tuple(below), value)


def _set(section: CommentedMap, key: str | int, value: Any) -> None:  # noqa: ANN401  # the same
    last = _last_scalar(section) if section and key not in section else None
    section[key] = value
    if last is None:
        return
    # ruamel.yaml stores the comment above the next section behind the last value of this section.
    container, place = last
    tokens = container.ca.items.get(place, [])
    token = next((item for item in tokens if isinstance(item, CommentToken)), None)
    if token is not None:
        line, _, below = token.value.partition("\n")
        token.value = f"{line}\n"
        if below.strip():
            container, place = _last_scalar(section)
            moved = CommentToken(f"\n{below}", CommentMark(0), None)
            is_map = isinstance(container, CommentedMap)
            container.ca.items[place] = [None, None, moved, None] if is_map else [moved, None]


def _last_scalar(section: CommentedMap | CommentedSeq) -> tuple[Any, Any]:
    """Return the block that holds the last value of a section, and the value's place in it."""
    place = len(section) - 1 if isinstance(section, CommentedSeq) else list(section)[-1]
    inner = section[place]
    if isinstance(inner, CommentedMap | CommentedSeq) and inner and not inner.fa.flow_style():
        return _last_scalar(inner)
    return section, place


def _in_one_line(value: Any) -> Any:  # noqa: ANN401  # the same
    if not isinstance(value, Mapping | list):
        return value
    flow = CommentedMap(value) if isinstance(value, Mapping) else CommentedSeq(value)
    flow.fa.set_flow_style()
    return flow


def _represent_null(representer: Any, _: None) -> Any:  # noqa: ANN401  # as ruamel.yaml calls it
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")
