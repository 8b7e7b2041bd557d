"""What the decorators of the kit need besides Weft."""

from importlib.util import find_spec

from weft.foundation.errors import MissingDependencyError


def expect_pytest() -> None:
    """Make sure that pytest is installed.

    Raises:
        MissingDependencyError: it is not.
    """
    if find_spec("pytest") is None:
        raise MissingDependencyError(
            "the decorators need pytest, which is not installed",
            where="weft.testing",
            hint="pip install 'weft[testing]', or call check_layer(...).raise_if_failed()",
        )
