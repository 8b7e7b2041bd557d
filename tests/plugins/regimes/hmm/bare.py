"""Detection without hmmlearn, run in a process that cannot import it."""

import numpy as np
import pytest

from tests.plugins.regimes.hmm.planted import FEATURES, training, truth
from weft.foundation.errors import MissingDependencyError
from weft.testing.history import random_history
from weft_plugins.checkpoints import sealed
from weft_plugins.regimes.hmm.detector import HiddenMarkov
from weft_plugins.regimes.hmm.parameters import FILE


def check() -> None:
    regime = HiddenMarkov(HiddenMarkov.Config(observed=FEATURES, warmup=32))
    history = random_history(seed=1, rows=900)
    learned = regime.load(sealed({FILE: truth().to_json()}, {}))
    state = regime.detect(history.view(regime.needs, steps=3, learned=learned))
    assert np.isfinite(state.probability).all()
    with pytest.raises(MissingDependencyError, match=r"weft\[ml\]"):
        regime.fit(history.view(regime.needs, steps=600), training())
