"""Options of the transformer."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from weft.components.base import ComponentConfig, Local


class Options(ComponentConfig):
    """Options: the network, its training, and its use of the machine."""

    window: int = Field(default=96, ge=4, le=4096, description="candles of an input window")
    width: int = Field(default=64, ge=1, le=4096, description="width of the embedding")
    layers: int = Field(
        default=4, ge=1, le=32, description="encoder layers; dropout is in the last one"
    )
    heads: int = Field(
        default=8, ge=1, le=256, description="attention heads; they divide the width"
    )
    feed_forward: int = Field(
        default=128, ge=1, le=16_384, description="width of the feed-forward part"
    )
    dropout: float = Field(default=0.1, gt=0, lt=1, description="share of each dropout mask")
    passes: int = Field(default=50, ge=2, le=10_000, description="dropout passes of a forecast")
    noise: Literal["student", "gaussian"] = Field(
        default="student",
        description="noise around the path: Student's t with 4 degrees of freedom, or normal",
    )
    epochs: int = Field(
        default=30, ge=1, le=10_000, description="passes over samples of the history, at most"
    )
    patience: int = Field(
        default=10,
        ge=1,
        description="epochs without a better validation loss before training stops",
    )
    windows_per_epoch: int = Field(
        default=8192, ge=1, le=10_000_000, description="windows drawn for an epoch, at most"
    )
    validation_share: float = Field(
        default=0.15,
        gt=0,
        lt=1,
        description="share of the rows, the latest, that decide when to stop",
    )
    validation_windows: int = Field(
        default=4096,
        ge=1,
        le=1_000_000,
        description="windows of the validation loss, at most",
    )
    batch_size: int = Field(default=64, ge=1, le=4096, description="windows of an optimizer step")
    learning_rate: float = Field(
        default=5e-4,
        gt=0,
        description="learning rate of AdamW at the start; a cosine anneals it to 0",
    )
    weight_decay: float = Field(default=0.01, ge=0, description="weight decay of AdamW")
    clip_norm: float = Field(default=1.0, gt=0, description="largest norm of a gradient")
    device: Annotated[Literal["auto", "cpu", "cuda"], Local()] = Field(
        default="auto",
        description="device for training and judging; auto: a GPU with room, else the CPU; "
        "forecasts always run on the CPU",
    )
    threads: Annotated[int, Local()] = Field(
        default=0, ge=0, le=1024, description="CPU threads; 0: as many as torch takes"
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide width ({self.width})")
        return self
