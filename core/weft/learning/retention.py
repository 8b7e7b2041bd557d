"""Which artifacts nobody will ask for again, and removing them."""

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
    """Remove artifacts of a component that were never taken into use; return their digests.

    An artifact that a promotion names is never removed: replay and going back need it. Nor is one
    that the ledger does not know, for it may be another's, or on its way there. A folder of
    artifacts belongs to one ledger.

    Args:
        artifacts: where they are.
        ledger: where trainings and promotions stand.
        key: the component's key in config.
        trained: the one a training has just written to the ledger; it is there afterwards.
        most: of those never taken into use, so many of the newest stay.

    Raises:
        StorageError: `trained` was removed meanwhile and cannot be written again.
    """
    # Trained to the same before, it may have been removed by another process in the meantime.
    artifacts.keep(key, trained.artifact, trained.about)
    try:
        unneeded = never_used(_of(ledger, TRAINING, key), _used(ledger, key), most)
        there = set(artifacts.digests(key)) - {trained.digest}
    except StorageError as error:
        _log.warning("artifacts of %s that nobody needs stay for now: %s", key, error)
        return []
    gone = [digest for digest in unneeded if digest in there]
    return artifacts.remove(key, gone, lambda: _used(ledger, key))


def never_used(trainings: Sequence[Entry], used: Collection[str], most: int) -> list[str]:
    """Return the digests of artifacts that were judged, not taken into use, and are not new.

    Args:
        trainings: the ledger's rows on the trainings of one component, the oldest first.
        used: digests of artifacts that were taken into use, or are about to be.
        most: so many of the newest stay; the last one, and the one that was trained on the latest
            rows, stay in any case: the next training goes on from there.
    """
    # One that was trained twice to the same counts as of the last time.
    newest_first = list(dict.fromkeys(str(one.body["artifact"]) for one in reversed(trainings)))
    unused = [digest for digest in newest_first if digest not in used]
    stay = {*newest_first[:1], *unused[:most]}
    if trainings:
        latest = max(trainings, key=lambda one: (one.body["trained_through"], one.seq))
        stay.add(str(latest.body["artifact"]))
    return [digest for digest in unused if digest not in stay]


def _used(ledger: Ledger, key: str) -> set[str]:
    """Return what the ledger says, now, was taken into use or is about to be."""
    # The row on a training that ended with a promotion comes before that of the promotion.
    trained = [one for one in _of(ledger, TRAINING, key) if one.body["promoted"]]
    return {str(one.body["artifact"]) for one in (*trained, *_of(ledger, PROMOTION, key))}


def _of(ledger: Ledger, kind: str, key: str) -> list[Entry]:
    return [one for one in ledger.notes(kind) if one.symbol == key]
