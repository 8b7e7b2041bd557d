"""Expands ``${NAME}`` and ``${NAME:-default}`` in config files and ``--set``."""

import re
from collections.abc import Mapping

from weft.config.merging import is_slot
from weft.config.tree import KeyPath, Origin, Problem, TreeNode, dotted
from weft.config.yaml_text import read_scalar

_REFERENCE = re.compile(r"\$(?P<escaped>\$\{)|\$\{(?P<name>[A-Za-z_]\w*)(:-(?P<default>[^{}]*))?\}")


_WITHOUT_BRACES = re.compile(r"\$[A-Z_][A-Z0-9_]*")
_PLAIN_DOLLAR = re.compile(r"\$(\$[A-Z_][A-Z0-9_]*)")


def expand(tree: TreeNode, environ: Mapping[str, str]) -> tuple[TreeNode, list[Problem]]:
    """Return a tree with references to environment variables replaced.

    ``${NAME:-default}`` takes the default where the variable is unset or empty; ``$${`` means a
    literal ``${``. A value ``$NAME`` without braces is a mistake, since a shell would expand it;
    ``$$NAME`` means the text ``$NAME``. A slot that is switched off may refer to variables that
    are not set.
    """
    problems: list[Problem] = []
    return _Expander(environ, problems).expand(tree, ()), problems


class _Expander:
    def __init__(self, environ: Mapping[str, str], problems: list[Problem]) -> None:
        self._environ = environ
        self._problems = problems

    def expand(self, given: TreeNode, path: KeyPath) -> TreeNode:
        value = given.value
        if isinstance(value, dict):
            before = len(self._problems)
            inner = {key: self.expand(item, (*path, key)) for key, item in value.items()}
            if is_slot(path) and "enabled" in inner and inner["enabled"].value is False:
                del self._problems[before:]
            return TreeNode(inner, given.origin)
        if isinstance(value, list):
            items = [self.expand(item, (*path, index)) for index, item in enumerate(value)]
            return TreeNode(items, given.origin)
        if not given.expands or not isinstance(value, str) or "$" not in value:
            return given
        if _WITHOUT_BRACES.fullmatch(value):
            # The message does not quote the value: it may be a secret that looks like a variable.
            what = "a variable is expanded only in braces: write ${NAME}; $$NAME is the text $NAME"
            self._report(given, path, what)
            return given
        plain = _PLAIN_DOLLAR.fullmatch(value)
        if plain is not None:
            return TreeNode(plain[1], given.origin)
        return self._text(given, path) if "${" in value else given

    def _text(self, given: TreeNode, path: KeyPath) -> TreeNode:
        if "${" in _REFERENCE.sub("", given.value):
            self._report(given, path, "expected ${NAME} or ${NAME:-default}")
            return given
        before = len(self._problems)
        text = _REFERENCE.sub(lambda match: self._replace(match, given, path), given.value)
        if len(self._problems) > before:
            return given
        if given.quoted:
            return TreeNode(text, given.origin)
        # A variable has no quotes, so text and number look alike.
        named = _REFERENCE.search(given.value)
        variable = named["name"] if named else None
        return TreeNode(read_scalar(text), Origin(given.origin.place, text, variable))

    def _replace(self, match: re.Match[str], given: TreeNode, path: KeyPath) -> str:
        if match["escaped"]:
            return "${"
        name, default = match["name"], match["default"]
        value = self._environ.get(name)
        if default is not None:
            return value or default
        if value is None:
            self._report(
                given,
                path,
                f"environment variable {name} is not set; "
                f"set it, or write ${{{name}:-default}} for a default",
            )
        return value or ""

    def _report(self, given: TreeNode, path: KeyPath, what: str) -> None:
        line = f"{dotted(path)}: {what} ({given.origin.place})"
        self._problems.append(Problem(path, line))
