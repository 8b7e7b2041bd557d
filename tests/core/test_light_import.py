"""What every command pays for before it does anything."""

import subprocess
import sys

import pytest

NEVER = ("pandas", "torch", "sklearn", "xgboost", "transformers")
NOT_YET = ("numba", "polars", "deltalake", "scipy", "sqlalchemy")


@pytest.mark.parametrize(
    "statement",
    [
        "import weft",
        "from weft.plugins.discovery import discover; assert discover()",
        (
            "from weft.plugins.discovery import discover\n"
            "from weft.plugins.registry import Registry\n"
            "assert Registry(discover()).records()"
        ),
        "import weft.plugins.hookspecs, weft.plugins.manager",
        "from weft.config.loading import load_settings; load_settings(environ={})",
        "import weft.config.resolve",
        "import weft.components.base, weft.foundation.errors, weft.foundation.times",
    ],
)
def test_nothing_heavy_is_imported(statement: str) -> None:
    script = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded.isdisjoint(NEVER + NOT_YET)


def test_importing_weft_imports_none_of_its_parts() -> None:
    script = "import sys\nimport weft\nprint(*(m for m in sys.modules if m.startswith('weft')))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["weft"]
