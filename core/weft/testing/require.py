"""What checks require of a fetch."""

from weft.testing.fetching import Fetched
from weft.testing.provider_case import Row


def require(condition: bool, message: str) -> None:  # noqa: FBT001  # reads like the assert it is
    """Raise an AssertionError unless something holds."""
    if not condition:
        raise AssertionError(message)


def require_fine(fetched: Fetched, when: str) -> None:
    """Require that a fetch ended without an error."""
    if fetched.error is not None:
        kind = type(fetched.error).__name__
        raise AssertionError(f"{kind} of {when}: {fetched.error}") from fetched.error


def require_same(came: set[Row], expected: set[Row], when: str) -> None:
    """Require that the same rows came."""
    require_part(came, expected, when)
    lost = sorted(map(str, expected - came))
    require(not lost, f"{len(lost)} rows are missing once {when}: {lost[:2]}")


def require_part(came: set[Row], of: set[Row], when: str, *, missing: bool = False) -> None:
    """Require that no row came that is not among others."""
    more = sorted(map(str, came - of))
    word = "lack what came otherwise" if missing else "are others"
    require(not more, f"{len(more)} rows {word} once {when}: {more[:2]}")
