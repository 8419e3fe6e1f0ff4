"""Configuration of data, model and training: the sections ``data``, ``model``, ``training``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from hwsim.config.loader import StrictModel

DataSet = Literal["digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "npz"]
WeightAlphabet = Literal[
    "binary", "ternary", "int2", "int3", "int4", "int5", "int6", "int7", "int8",
    "pow2_2", "pow2_3", "pow2_4",
]  # fmt: skip
Channels = Annotated[int, Field(ge=1, le=1024)]


class DataConfig(StrictModel):
    """Which pictures to train and test on."""

    set: DataSet = "digits"
    path: str | None = Field(
        None, description="folder (IDX, CIFAR) or file (npz); default: the usual places"
    )

    @model_validator(mode="after")
    def _npz_needs_path(self) -> DataConfig:
        if self.set == "npz" and self.path is None:
            raise ValueError("path must name the .npz file when set is npz")
        return self


class ModelConfig(StrictModel):
    """Shape and number formats of the network.

    ``cnn`` and ``cnn1d``: one convolution for each entry of ``channels``. ``resnet``: one stage of
    ``blocks`` residual blocks for each entry of ``channels``, after a stem of ``channels[0]``;
    every stage but the first halves height and width. All end in a global average pool and one
    linear layer.
    """

    network: Literal["cnn", "resnet", "cnn1d"] = "cnn"
    channels: Annotated[tuple[Channels, ...], Field(min_length=1, max_length=32)] = (16, 32, 32)
    strides: tuple[Annotated[int, Field(ge=1, le=4)], ...] | None = Field(
        None, description="cnn, cnn1d: stride of each convolution; default: all 1"
    )
    pools: tuple[Annotated[int, Field(ge=0, le=31)], ...] = Field(
        (), description="cnn, cnn1d: indices of convolutions followed by a 2-wide max pool"
    )
    blocks: int = Field(3, ge=1, le=32, description="resnet: residual blocks in each stage")
    kernel: Literal[1, 3, 5, 7] = 3
    stem_kernel: Literal[1, 3, 5, 7] = Field(3, description="kernel of the first convolution")
    stem_stride: int = Field(1, ge=1, le=4, description="resnet: stride of the first convolution")
    convolution: Literal["mux", "dense"] = Field(
        "mux", description="mux keeps one weight of each kernel slice"
    )
    activation: Literal["relu", "hard_swish"] = Field(
        "relu",
        description="after convolutions (a residual sum is always clipped at 0, as by relu); "
        "hard_swish becomes a lookup table and is signed",
    )
    stem: Literal["mux", "dense"] = Field("dense", description="kind of the first convolution")
    weights: WeightAlphabet = "binary"
    stem_weights: WeightAlphabet | None = Field(None, description="default: as weights")
    head_weights: WeightAlphabet | None = Field(
        "int8", description="linear layer; null: as weights"
    )
    weight_reach: float = Field(
        4.0,
        ge=1,
        le=100,
        description="int weights: end of their range in units of the mean |w| of an output; "
        "small values (2) make wrong bits weigh less",
    )
    activation_bits: int = Field(4, ge=1, le=8)
    input_bits: int = Field(8, ge=1, le=8)
    residual_bits: int = Field(
        8, ge=3, le=16, description="resnet: signed width of both branches before they are added"
    )
    multiplier_bits: int = Field(
        12, ge=4, le=24, description="significant bits of every channel's multiplier"
    )

    @field_validator("pools")
    @classmethod
    def _ascending(cls, pools: tuple[int, ...]) -> tuple[int, ...]:
        if list(pools) != sorted(set(pools)):
            raise ValueError("must be ascending, each index once")
        return pools

    @model_validator(mode="after")
    def _consistent(self) -> ModelConfig:
        layers = len(self.channels)
        if self.network == "resnet":
            if self.strides is not None or self.pools:
                raise ValueError("strides and pools do not apply to resnet (use stem_stride)")
        else:
            if self.strides is not None and len(self.strides) != layers:
                raise ValueError(
                    f"strides must have one entry for each of the {layers} channels, "
                    f"not {len(self.strides)}"
                )
            if self.pools and self.pools[-1] >= layers:
                raise ValueError(f"pools must be 0..{layers - 1}, not {self.pools[-1]}")
            if self.stem_stride != 1:
                raise ValueError("stem_stride applies to resnet only (use strides)")
        if self.activation == "hard_swish" and self.activation_bits < 2:
            raise ValueError("hard_swish needs activation_bits of at least 2: one is the sign")
        if self.network == "resnet" and self.residual_bits < self.activation_bits + 2:
            raise ValueError("residual_bits must be at least activation_bits + 2")
        return self


class FaultTrainingConfig(StrictModel):
    """Training against bit errors: every step draws a new pattern, once positions are frozen.

    ``randbet``: clean plus faulty loss. ``single``: the faulty loss alone, which costs one pass
    instead of two. ``deviation``: clean loss plus the relative squared deviation of the
    activations that the errors cause.
    """

    bit_error_rate: float = Field(..., gt=0, le=0.5)
    method: Literal["randbet", "single", "deviation"] = "randbet"
    weight: float = Field(1.0, gt=0, le=1000, description="of the faulty loss, or the deviation")
    memories: Annotated[tuple[Literal["weight", "tap", "activation"], ...], Field(min_length=1)] = (
        Field(("weight", "tap"), description="what is stored where errors strike")
    )
    start: float = Field(0.0, ge=0, lt=1, description="share of the steps without errors")
    ramp: float = Field(
        0.25, ge=0, le=1, description="share of the steps in which the rate rises to its end"
    )


class TrainingConfig(StrictModel):
    """How the network, and its dense float twin, are trained."""

    epochs: int = Field(20, ge=1, le=10_000)
    twin_epochs: int | None = Field(
        None, ge=0, le=10_000, description="epochs of the float twin; default: epochs; 0: no twin"
    )
    batch_size: int = Field(128, ge=2, le=65_536)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(1e-2, gt=0, le=10)
    twin_learning_rate: float | None = Field(None, gt=0, le=10, description="default: the same")
    final_learning_rate: float = Field(
        0.0, ge=0, le=1, description="last learning rate as a share of the largest"
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps that ramp the rate up")
    weight_decay: float = Field(0.0, ge=0, le=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    beta_start: float = Field(0.5, gt=0, le=1000, description="inverse temperature at the start")
    beta_end: float = Field(60.0, gt=0, le=1000, description="... when the positions are frozen")
    freeze_at: float = Field(
        0.4, ge=0, le=1, description="share of the steps after which the positions are frozen"
    )
    shift: int = Field(0, ge=0, le=16, description="random shift of up to so many pixels")
    flip: bool = Field(False, description="random horizontal flip")
    distillation: float = Field(
        0.0, ge=0, le=1, description="weight of the float twin's answers in the loss"
    )
    temperature: float = Field(4.0, gt=0, le=100, description="temperature of the distillation")
    margin: float = Field(
        0.0, ge=0, le=100, description="by which the right class's logit must win to count fully"
    )
    initial: str | None = Field(
        None, description="checkpoint (network.pt) of the same model to go on from"
    )
    faults: FaultTrainingConfig | None = Field(None, description="train against bit errors")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="of convolutions in training; auto: bf16 where CPU or GPU has instructions "
        "for it, else fp32",
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(
        None,
        ge=1,
        le=256,
        description="CPU threads; default: all cores. Small networks run best on one, and only "
        "a fixed number gives the same weights on machines of different core counts",
    )

    @model_validator(mode="after")
    def _consistent(self) -> TrainingConfig:
        if self.beta_end < self.beta_start:
            raise ValueError("beta_end must be at least beta_start")
        if self.distillation > 0 and self.twin_epochs == 0:
            raise ValueError("distillation needs the float twin: twin_epochs must not be 0")
        return self
