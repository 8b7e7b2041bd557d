"""A parser of GraphQL queries: fields with aliases, arguments and selections."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?|[A-Za-z_]\w*|[{}()\[\]:!$=]')


@dataclass(slots=True)
class Field:
    """One field of a query, with its arguments and selections."""

    name: str
    alias: str
    arguments: dict[str, Any] = field(default_factory=dict)
    inner: "list[Field]" = field(default_factory=list)


def parse(text: str, variables: Mapping[str, Any]) -> list[Field]:
    """Return the fields of a query.

    Raises:
        ValueError: the text is no query.
    """
    tokens = iter([*_TOKEN.findall(text[text.index("{") :]), ""])
    next(tokens)
    try:
        return _fields(tokens, variables)
    except (StopIteration, IndexError):
        raise ValueError("syntax error") from None


def _fields(tokens: Iterator[str], variables: Mapping[str, Any]) -> list[Field]:
    parsed: list[Field] = []
    for word in tokens:
        match word:
            case "}":
                return parsed
            case "{":
                parsed[-1].inner = _fields(tokens, variables)
            case "(":
                parsed[-1].arguments = _arguments(tokens, variables, ")")
            case ":":
                parsed[-1].name = next(tokens)
            case _:
                if not word.isidentifier():
                    break
                parsed.append(Field(word, word))
    raise ValueError("syntax error")


def _arguments(tokens: Iterator[str], variables: Mapping[str, Any], end: str) -> dict[str, Any]:
    parsed = {}
    while (name := next(tokens)) != end:
        if next(tokens) != ":":
            raise ValueError("syntax error")
        parsed[name] = _value(next(tokens), tokens, variables)
    return parsed


def _value(word: str, tokens: Iterator[str], variables: Mapping[str, Any]) -> Any:  # noqa: ANN401  # JSON, in the form the contract fixes
    if word == "$":
        return variables.get(next(tokens))
    if word == "{":
        return _arguments(tokens, variables, "}")
    if word == "[":
        items = []
        while (item := next(tokens)) != "]":
            items.append(_value(item, tokens, variables))
        return items
    try:
        return json.loads(word)
    except ValueError:
        return word
