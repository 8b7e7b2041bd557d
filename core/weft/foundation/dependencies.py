"""Optional packages: imported only once something needs them."""

from importlib import import_module

from weft.foundation.errors import MissingDependencyError


def require(*packages: str, extra: str, where: str, otherwise: str = "") -> None:
    """Import packages of an extra, so that plain imports of them after this call succeed.

    ::

        require("torch", "safetensors", extra="ml", where="model transformer")
        import torch

    Args:
        packages: names of the modules to import.
        extra: extra of Weft that installs the packages.
        where: component or command that needs them.
        otherwise: what a user can do instead of installing them; ends the hint.

    Raises:
        MissingDependencyError: a package is not installed, or its installation is broken.
    """
    for package in packages:
        try:
            import_module(package)
        except ImportError as error:
            raise _missing(package, error, extra, where, otherwise) from error


def _missing(
    package: str, error: ImportError, extra: str, where: str, otherwise: str
) -> MissingDependencyError:
    absent = (error.name or package).partition(".")[0]
    if isinstance(error, ModuleNotFoundError):
        message = f"needs the package {absent}, which is not installed"
    else:
        message = f"needs the package {package}, which cannot be imported ({error})"
    install = f"Run `pip install 'weft[{extra}]'`"
    return MissingDependencyError(
        message, where=where, hint=f"{install}, or {otherwise}" if otherwise else install
    )
