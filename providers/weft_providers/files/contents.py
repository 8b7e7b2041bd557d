"""Open candle files: unpack bytes, split lines into fields, load tables."""

import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import orjson
import polars as pl

from weft.foundation.errors import DataError, NoDataError, SchemaError
from weft_providers.files.forms import BLANKS, FileForm, split_line

_MARK: Final = "\x1f"
"""Separates the fields of a line after its quotes are removed; no text holds this character."""

_TEXT_SUFFIXES = (".csv", ".txt", ".tsv")
_ARROW_SUFFIXES = (".feather", ".arrow", ".ipc")


@contextmanager
def as_data_error(source: str) -> Iterator[None]:
    """Raise a `DataError` in place of the errors that libraries raise for a damaged file."""
    try:
        yield
    except (
        OSError,
        EOFError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,
    ) as error:
        reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise DataError(
            f"cannot be read: {reason}", where=source, hint="Write the file again, or remove it"
        ) from error


def is_text(file: Path) -> bool:
    """Whether a file holds lines of text, compressed or not."""
    name = file.name.lower().removesuffix(".gz")
    return name.endswith((*_TEXT_SUFFIXES, ".zip")) and not name.endswith(".json.zip")


def is_json(file: Path) -> bool:
    """Whether a file holds JSON, compressed or not."""
    return file.name.lower().endswith((".json", ".json.gz", ".json.zip"))


def unpack(file: Path, source: str) -> bytes:
    """Return the bytes of a file, decompressed.

    Raises:
        NoDataError: the file is empty.
        DataError: the file cannot be read, or an archive holds several files.
    """
    with as_data_error(source):
        data = file.read_bytes()
        if file.name.lower().endswith(".gz"):
            data = gzip.decompress(data)
        elif file.name.lower().endswith(".zip"):
            data = _only_member(data, source)
    if not data.strip():
        raise NoDataError("the file is empty", where=source)
    return data


def _only_member(data: bytes, source: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [member.filename for member in archive.infolist() if not member.is_dir()]
        names = [name for name in names if not name.startswith(("__MACOSX", "."))]
        if len(names) != 1:
            raise DataError(
                f"the archive holds {len(names)} files, expected 1",
                where=source,
                hint="Unpack it into the folder",
            )
        return archive.read(names[0])


def read_lines(data: bytes, form: FileForm, source: str) -> pl.DataFrame:
    """Split the lines below the header into fields.

    Returns:
        Columns `line` (number in the file, from 1), `fields` (a list of texts) and `count` (their
        number). Blank lines and comments are left out.
    """
    with as_data_error(source):
        text = data.decode(form.encoding)
    lines = pl.DataFrame({"raw": [text]}).select(pl.col("raw").str.split("\n").explode())
    lines = lines.with_row_index("line", 1).slice(form.skip_rows)
    lines = lines.with_columns(pl.col("raw").str.strip_chars_end("\r"))
    stripped = pl.col("raw").str.strip_chars()
    lines = lines.filter((stripped != "") & ~stripped.str.starts_with("#"))
    fields = _split(pl.col("raw"), form.separator, quoted='"' in text)
    return lines.select("line", fields=fields).with_columns(count=pl.col("fields").list.len())


def _split(raw: pl.Expr, separator: str, *, quoted: bool) -> pl.Expr:
    if separator == BLANKS:
        return raw.str.strip_chars().str.replace_all(r"\s+", _MARK).str.split(_MARK)
    if not quoted:
        return raw.str.split(separator)
    marked = raw.map_elements(
        lambda line: _MARK.join(split_line(line, separator)), return_dtype=pl.String
    )
    plain = raw.str.replace_all(separator, _MARK, literal=True)
    return (
        pl.when(raw.str.contains('"', literal=True)).then(marked).otherwise(plain).str.split(_MARK)
    )


def read_table(file: Path, source: str) -> pl.DataFrame:
    """Load a file that holds a table: Parquet, Arrow or JSON.

    A JSON list of lists has columns named by their position from 1.

    Raises:
        DataError: the file is empty or cannot be read.
    """
    if is_json(file):
        return _json_table(unpack(file, source), source)
    with as_data_error(source):
        if file.stat().st_size == 0:
            raise NoDataError("the file is empty", where=source)
        if file.name.lower().endswith(_ARROW_SUFFIXES):
            return pl.read_ipc(file.read_bytes())
        return pl.read_parquet(file, glob=False)


def _json_table(data: bytes, source: str) -> pl.DataFrame:
    with as_data_error(source):
        rows = orjson.loads(data)
        if isinstance(rows, dict):
            lists = [value for value in rows.values() if isinstance(value, list)]
            rows = lists[0] if len(lists) == 1 else rows
        if not isinstance(rows, list) or not rows:
            raise SchemaError("holds no list of candles", where=source)
        if isinstance(rows[0], list):
            names = [str(place + 1) for place in range(len(rows[0]))]
            return pl.DataFrame(rows, schema=names, orient="row", infer_schema_length=None)
        return pl.DataFrame(rows, infer_schema_length=None)


def as_csv(frame: pl.DataFrame) -> bytes:
    """Write the first rows of a table as CSV without a header, for finding its columns."""
    out = io.StringIO()
    csv.writer(out).writerows(frame.head(200).iter_rows())
    return out.getvalue().encode()
