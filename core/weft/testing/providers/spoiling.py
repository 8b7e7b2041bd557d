"""Functions that spoil the answers of a server."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import orjson

from weft.sources.http.connection import Reply
from weft.testing.providers.wiretap import Ask, Spoil


def answering(status: int, body: bytes, headers: dict[str, str] | None = None) -> Spoil:
    """Return a function that gives every request the same answer."""
    sent = {"content-type": "application/json", **(headers or {})}
    return lambda _, __: Reply(status, sent, body)


def only_first(spoil: Spoil) -> Spoil:
    """Return a function that spoils only the first answer."""
    asked: list[Ask] = []

    def spoilt(ask: Ask, reply: Reply) -> Reply:
        asked.append(ask)
        return spoil(ask, reply) if len(asked) == 1 else reply

    return spoilt


def rewritten(body: bytes, change: Callable[[Any], Any]) -> bytes:
    """Return a JSON body with a change in it; a body that is no JSON stays as it is."""
    try:
        data = orjson.loads(body)
    except ValueError:
        return body
    return orjson.dumps(change(data))


def emptied(node: Any) -> Any:  # noqa: ANN401  # JSON
    """Return JSON whose lists of records are empty."""
    if isinstance(node, list):
        return [] if node and isinstance(node[0], list | dict) else [emptied(n) for n in node]
    if isinstance(node, dict):
        return {name: emptied(value) for name, value in node.items()}
    return node


def field_names(memory: dict[Ask, Reply]) -> list[str]:
    """Return the names of all fields in the answers, in order of appearance."""
    names: dict[str, None] = {}

    def look(node: Any) -> Any:  # noqa: ANN401  # JSON
        if isinstance(node, dict):
            names.update(dict.fromkeys(node))
        for child in node.values() if isinstance(node, dict) else node:
            if isinstance(child, list | dict):
                look(child)
        return node

    for reply in memory.values():
        rewritten(reply.body, lambda data: look(data) if isinstance(data, list | dict) else data)
    return list(names)


def field_spoilt(field: str, change: Callable[[dict[str, Any], str], None]) -> Spoil:
    """Return a function that changes a field in every record of an answer."""

    def walk(node: Any) -> Any:  # noqa: ANN401  # JSON
        if isinstance(node, dict) and field in node:
            change(node, field)
        for child in node.values() if isinstance(node, dict) else node:
            if isinstance(child, list | dict):
                walk(child)
        return node

    quoted = orjson.dumps(field)

    def spoil(_: Ask, reply: Reply) -> Reply:
        # Answers without the field are not parsed: that would take most of the time.
        if quoted not in reply.body:
            return reply
        body = rewritten(reply.body, lambda d: walk(d) if isinstance(d, list | dict) else d)
        return replace(reply, body=body)

    return spoil


def _rename(record: dict[str, Any], field: str) -> None:
    record[f"{field}V2"] = record.pop(field)


def _set(value: Any) -> Callable[[dict[str, Any], str], None]:  # noqa: ANN401  # JSON
    def change(record: dict[str, Any], field: str) -> None:
        # A value of the same type would be a valid answer.
        if type(record[field]) is not type(value):
            record[field] = value

    return change


FIELD_CHANGES: Final = {
    "renamed": _rename,
    "null": _set(None),
    "text": _set("unexpected"),
    "a list": _set([]),
    "an object": _set({}),
}
