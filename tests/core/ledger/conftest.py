"""Databases to keep ledgers in: files, and a PostgreSQL server that lives as long as the tests."""

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.core.ledger.places import Place, PostgresPlace, SQLitePlace
from weft.ledger.ledger import Ledger

_numbers = itertools.count()


def _binaries() -> Path:
    """The folder of the server's programs, the newest where there are several."""
    found = shutil.which("initdb")
    if found is not None and shutil.which("pg_ctl") is not None:
        return Path(found).parent
    # Debian keeps them out of the path.
    several = [p.parent for p in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if not several:
        pytest.skip("needs the programs of a PostgreSQL server: initdb and pg_ctl")
    return max(several, key=lambda folder: int(folder.parent.name))


def _account() -> pwd.struct_passwd | None:
    """Whom the server runs as; None for whoever runs the tests."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    pytest.skip("a PostgreSQL server refuses to run as root, and there is no other account")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresPlace]:
    """The first database of a server that listens on a socket in a folder of its own."""
    binaries, account = _binaries(), _account()
    # Not pytest's folder: only its owner may enter it, and its name is too long for a socket.
    folder = Path(tempfile.mkdtemp(prefix="weft-pg-"))
    data, log = folder / "data", folder / "log"

    def run(program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(binaries / program), "-D", str(data), *arguments],
            cwd=folder,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # the server would keep a pipe open
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
        told = log.read_text() if log.exists() else ""
        assert done.returncode == 0, f"{program}: {told}"

    try:
        if account:
            os.chown(folder, account.pw_uid, account.pw_gid)
        run("initdb", "-U", "weft", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        # Without TCP, so there is no port to be taken; without fsync, since nothing is kept.
        run("pg_ctl", "-w", "-l", str(log), "-o", f"-F -h '' -k {folder}", "start")
        try:
            yield PostgresPlace(f"postgresql://weft@/postgres?host={folder}")
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def sqlite_place(tmp_path: Path) -> Iterator[SQLitePlace]:
    place = SQLitePlace(tmp_path / "ledger.db")
    yield place
    place.close()


@pytest.fixture
def postgres_place(postgres: PostgresPlace) -> Iterator[PostgresPlace]:
    name = f"ledger{next(_numbers)}"
    postgres.raw(f"CREATE DATABASE {name}")
    place = PostgresPlace(postgres.url.replace("/postgres?", f"/{name}?"))
    yield place
    place.close()
    postgres.raw(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Place:
    """An empty database, of each kind in turn."""
    fixture = "sqlite_place" if request.param == "sqlite" else "postgres_place"
    found = request.getfixturevalue(fixture)
    assert isinstance(found, Place)
    return found


@pytest.fixture
def ledger(place: Place) -> Ledger:
    return place.opened()
