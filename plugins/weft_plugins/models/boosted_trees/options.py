"""Options of the boosted trees."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from weft.components.base import ComponentConfig, Local
from weft_plugins.models.boosted_trees import groups as _groups
from weft_plugins.models.boosted_trees.groups import Group
from weft_plugins.models.boosted_trees.inputs import FeatureGroup


class Options(ComponentConfig):
    """Options: symbols, features, threshold, and the growth of the trees."""

    group: Literal["all", "majors", "alts", "memes", "stocks"] = Field(
        default="all", description="symbols to train on and forecast"
    )
    named: Mapping[Group, tuple[str, ...]] = Field(
        default_factory=lambda: dict(_groups.NAMED),
        description="assets of each group by name; the same for all specialists",
    )
    wild: float = Field(
        default=_groups.WILD,
        gt=0,
        description="yearly volatility above which an unnamed coin counts as a meme coin",
    )
    features: tuple[FeatureGroup, ...] = Field(
        default=("base", "momentum", "volume"), min_length=1, description="groups of columns"
    )
    threshold: float = Field(
        default=0.005, gt=0, lt=1, description="log return beyond which an outcome is up or down"
    )
    trees: int = Field(default=200, ge=1, le=10_000, description="rounds of boosting")
    depth: int = Field(default=8, ge=1, le=16, description="splits from root to leaf")
    rate: float = Field(default=0.03, gt=0, le=1, description="learning rate")
    row_share: float = Field(
        default=0.8, gt=0, le=1, description="share of the samples drawn for each tree"
    )
    column_share: float = Field(
        default=0.8, gt=0, le=1, description="share of the columns drawn for each tree"
    )
    least_leaf: float = Field(
        default=20.0, ge=0, description="smallest sum of second derivatives (Hessian) in a leaf"
    )
    penalty: float = Field(default=1.0, ge=0, description="L2 penalty on leaf values")
    most_samples: int = Field(
        default=500_000, ge=1000, description="samples above which rows are thinned out evenly"
    )
    hold_out: bool = Field(
        default=True,
        description="train five more times, each without a fifth: for quantiles and losses",
    )
    checkpoint_rounds: int = Field(default=25, ge=1, description="rounds between two checkpoints")
    threads: Annotated[int, Local()] = Field(
        default=1, ge=0, description="processor threads, 0 for all; results do not depend on them"
    )

    @model_validator(mode="after")
    def _expect_distinct_names(self) -> Self:
        assets = [asset for names in self.named.values() for asset in names]
        twice = sorted({asset for asset in assets if assets.count(asset) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)}: an asset belongs to one group only")
        return self

    def for_xgboost(self, seed: int) -> dict[str, Any]:
        """Return the options of XGBoost."""
        return {
            "objective": "multi:softprob",
            "num_class": 3,
            "eval_metric": "mlogloss",
            "tree_method": "hist",
            "max_depth": self.depth,
            "eta": self.rate,
            "subsample": self.row_share,
            "colsample_bytree": self.column_share,
            "min_child_weight": self.least_leaf,
            "reg_lambda": self.penalty,
            "seed": seed,
            "seed_per_iteration": True,
            "nthread": self.threads,
        }
