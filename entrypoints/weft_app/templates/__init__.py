"""Templates of `weft new`: a folder for each kind of component, and `common` for all of them.

Files that end in ``.tmpl`` are filled in by `string.Template`; others are copied as they are. A
folder named ``package`` takes the name of the new package. Files directly in the folder of a kind
are parts of the README.
"""

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
COMMON: Final = FOLDER / "common"
KINDS: Final = tuple(
    sorted(path.parent.name for path in FOLDER.glob("*/config.yaml.tmpl") if path.is_file())
)
"""The kinds of components that `weft new` writes."""
