"""What the decorators of the kit need besides Weft."""

from weft.foundation.dependencies import require


def expect_pytest() -> None:
    """Make sure that pytest is installed.

    Raises:
        MissingDependencyError: it is not.
    """
    require(
        "pytest",
        extra="testing",
        where="decorators of weft.testing",
        otherwise="call check_layer(...).raise_if_failed()",
    )
