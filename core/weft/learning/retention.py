"""Removal of artifacts that were never promoted and are no longer needed."""

import logging
from collections.abc import Collection, Sequence

from weft.foundation.errors import StorageError
from weft.learning.artifacts import Artifacts, StoredArtifact
from weft.learning.champions import PROMOTION
from weft.learning.records import TRAINING
from weft.ledger.ledger import Entry, Ledger

_log = logging.getLogger(__name__)


def remove_unneeded(
    artifacts: Artifacts, ledger: Ledger, key: str, trained: StoredArtifact, most: int
) -> list[str]:
    """Remove artifacts of a component that were never promoted, and return their digests.

    Promoted artifacts stay: replay and rollback need them. Artifacts without a row in the ledger
    stay as well: another process may be about to write that row. A folder of artifacts belongs to
    one ledger.

    Args:
        artifacts: artifacts on disk.
        ledger: ledger with trainings and promotions.
        key: key of the component in config.
        trained: artifact of a training that was just written to the ledger; it is on disk after
            the call.
        most: number of never promoted artifacts that stay, the newest.

    Raises:
        StorageError: `trained` was removed meanwhile and cannot be written again.
    """
    # An earlier training with an identical result: another process may have removed it.
    artifacts.keep(key, trained.artifact, trained.provenance)
    try:
        unneeded = never_used(_of(ledger, TRAINING, key), _used(ledger, key), most)
        present = set(artifacts.digests(key)) - {trained.digest}
    except StorageError as error:
        _log.warning("unneeded artifacts of %s stay for now: %s", key, error)
        return []
    removable = [digest for digest in unneeded if digest in present]
    return artifacts.remove(key, removable, lambda: _used(ledger, key))


def never_used(trainings: Sequence[Entry], used: Collection[str], most: int) -> list[str]:
    """Return the digests of judged artifacts that were never promoted, except the newest.

    Args:
        trainings: ledger rows of the trainings of one component, the oldest first.
        used: digests of artifacts that were promoted, or are about to be.
        most: number of the newest that stay. The last one and the one trained on the latest rows
            always stay: the next training continues from them.
    """
    # Where several trainings gave the same artifact, the last one counts.
    newest_first = list(dict.fromkeys(str(row.body["artifact"]) for row in reversed(trainings)))
    unused = [digest for digest in newest_first if digest not in used]
    stay = {*newest_first[:1], *unused[:most]}
    if trainings:
        latest = max(trainings, key=lambda row: (row.body["trained_through"], row.seq))
        stay.add(str(latest.body["artifact"]))
    return [digest for digest in unused if digest not in stay]


def _used(ledger: Ledger, key: str) -> set[str]:
    """Return the digests that were promoted, or are about to be."""
    # The row of a successful training comes before that of its promotion.
    trained = [row for row in _of(ledger, TRAINING, key) if row.body["promoted"]]
    return {str(row.body["artifact"]) for row in (*trained, *_of(ledger, PROMOTION, key))}


def _of(ledger: Ledger, kind: str, key: str) -> list[Entry]:
    return [row for row in ledger.notes(kind) if row.symbol == key]
