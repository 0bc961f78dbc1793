"""Training an Instant-NGP image field: a generator of steps, whatever the size of the picture.

A step draws pixels and means of squares of pixels (`image_batches`) and takes the gradient of the squared error of
their codes: sRGB, or for HDR pictures the codes of `light`, so that the loss is that of the PSNR in sRGB. What differs
from Instant-NGP, for a CPU: batches are a quarter of its size, the learning rate falls from the start, the table is
sized by the picture, means are learnt too so that the picture can be looked at from afar.
Source: Mueller et al. 2022, section 5.1; batches, Adam and L2 loss as its code has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from h3d.models.formats.errors import FormatError
from h3d.models.image_field import ImageField, codes_of, level_weights
from h3d.models.pictures import PixelSource
from h3d.renderers.adam import AdamOptions, AdamRows, adam_step
from h3d.renderers.hash_encoding import HashGridConfig, initial_table, per_level_scale
from h3d.renderers.mlp import initial_weights

from . import Step
from .checkpoints import Reached, damaged, load_checkpoint, save_checkpoint
from .image_batches import Sampling, coarsest_of, draw
from .loop import Advance, Trainer, steps

FORMAT = "h3d image training 1"
BASE_RESOLUTION = 16
SMALLEST_AUTO, LARGEST_AUTO = 12, 21
"""Powers of two: 2^21 entries a level are 32 million parameters, which a run holds in a gigabyte with all of Adam."""


@dataclass(frozen=True)
class ImageTraining:
    """How a picture is learnt; the defaults are for two CPU cores."""

    seed: int = 0
    log2_table_size: int | None = None
    """Entries of a level at most, as a power of two; none = half the picture's pixels, 2^21 at most."""
    levels: int = 16
    finest_cell: float = 1.0
    """Pixels across a cell of the finest level."""
    hidden: int = 64
    """Width of the network's two hidden layers."""
    samples_per_step: int = 1 << 16
    tiles_per_step: int = 64
    """Tiles that a step reads of a picture too large for memory; more are more even, and slower."""
    coarse_share: float = 1 / 4
    """Share of the samples that are means of squares of pixels, for views from afar; 0 = none."""
    learning_rate: float = 1e-2
    decay_steps: int = 1000
    """Steps after which the learning rate is down to 0.7 of its start; from there it falls with the inverse root."""
    average_decay: float = 0.95
    """Of the running average of the weights, which is what is displayed."""
    network_l2: float = 1e-6

    def __post_init__(self) -> None:
        if self.log2_table_size is not None and not 3 <= self.log2_table_size <= 24:
            raise ValueError(f"log2_table_size {self.log2_table_size}: must be 3 to 24")
        if not 0.0 <= self.coarse_share < 1.0:
            raise ValueError(f"coarse_share {self.coarse_share}: must be at least 0 and below 1")
        for name in ("samples_per_step", "tiles_per_step"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: must be 1 or more")


@dataclass(eq=False)
class ImageState:
    """All that changes during a run."""

    table: AdamRows
    network: list[AdamRows]
    generator: torch.Generator
    step: int = 0
    seconds: float = 0.0


def encoding_of(config: ImageTraining, width: int, height: int) -> HashGridConfig:
    """Levels from 16 corners to cells of `finest_cell` pixels across the longer side."""
    finest = max(max(width, height) / config.finest_cell, BASE_RESOLUTION)
    return HashGridConfig(
        dims=2,
        levels=config.levels,
        log2_table_size=config.log2_table_size or auto_table_size(width * height),
        base_resolution=BASE_RESOLUTION,
        per_level_scale=per_level_scale(BASE_RESOLUTION, finest, config.levels),
    )


def auto_table_size(pixels: int) -> int:
    """The power of two that holds half the pixels, within what is quick and fits the memory."""
    return min(max(pixels.bit_length() - 2, SMALLEST_AUTO), LARGEST_AUTO)


def train(source: PixelSource, config: ImageTraining, *, resume: Path | None = None) -> Iterator[Step[ImageField]]:
    """Steps without end; the listener stops asking. `resume` is a checkpoint of a run of the same picture and config.

    Raises:
        FormatError: the checkpoint is damaged or of another run; the picture's file is lost.
        RuntimeError: the loss is no longer a number.
    """
    trainer = ImageTrainer(source, config)
    state = trainer.start() if resume is None else trainer.load(resume)
    return steps(trainer, state)


class ImageTrainer(Trainer[ImageState, ImageField]):
    """What stays the same through a run, and how a state advances."""

    def __init__(self, source: PixelSource, config: ImageTraining) -> None:
        self.source, self.config = source, config
        self.encoding = encoding_of(config, source.width, source.height)
        self.sampling = Sampling(config.samples_per_step, config.tiles_per_step, config.coarse_share)
        self.coarsest = coarsest_of(source, config.coarse_share)

    def start(self) -> ImageState:
        """The state before the first step."""
        generator = torch.Generator().manual_seed(self.config.seed)
        hidden = self.config.hidden
        table = AdamRows.of(initial_table(self.encoding, generator))
        network = initial_weights((self.encoding.width, hidden, hidden, 3), generator)
        return ImageState(table, [AdamRows.of(matrix) for matrix in network], generator)

    def advance(self, state: ImageState) -> Advance:
        """One step in place."""
        batch = draw(self.source, self.sampling, state.generator)
        share = None
        if self.coarsest > 0:
            side = max(self.source.width, self.source.height)
            share = level_weights(self.encoding, side, batch.footprints, self.coarsest)
        table = state.table.values.requires_grad_()
        network = [rows.values.requires_grad_() for rows in state.network]
        codes = codes_of(batch.positions, table, network, self.encoding, share)
        loss = (codes - batch.codes).square().mean()
        gradients = torch.autograd.grad(loss, [table, *network])
        for tensor in (table, *network):
            tensor.requires_grad_(False)
        state.step += 1
        self._optimise(state, gradients)
        return Advance(float(loss.detach()), len(batch.positions))

    def _optimise(self, state: ImageState, gradients: tuple[torch.Tensor, ...]) -> None:
        config = self.config
        rate = config.learning_rate / (1.0 + (state.step - 1) / config.decay_steps) ** 0.5
        options = AdamOptions(learning_rate=rate, decay=config.average_decay)
        adam_step(state.table, gradients[0], step=state.step, options=replace(options, skip_zero_rows=True))
        for rows, gradient in zip(state.network, gradients[1:], strict=True):
            adam_step(rows, gradient, step=state.step, options=replace(options, l2=config.network_l2))

    def snapshot(self, state: ImageState) -> ImageField:
        """The field as it is displayed: averaged weights, copied."""
        decay = self.config.average_decay
        return ImageField(
            encoding=self.encoding,
            table=state.table.averaged(state.step, decay),
            weights=tuple(rows.averaged(state.step, decay) for rows in state.network),
            width=self.source.width,
            height=self.source.height,
            hdr=self.source.hdr,
            coarsest=self.coarsest,
            remark=f"trained on {self.source.name}, {state.step} steps",
        )

    def save(self, path: Path, state: ImageState) -> None:
        """Writes all of the state, whole or not at all."""
        tensors = state.table.tensors("table") | {"generator": state.generator.get_state()}
        for index, rows in enumerate(state.network):
            tensors |= rows.tensors(f"network.{index}")
        at = Reached(state.step, state.seconds)
        save_checkpoint(path, FORMAT, self.config, at, tensors, picture=[self.source.width, self.source.height])

    def load(self, path: Path) -> ImageState:
        """The state that `save` wrote. Raises: FormatError where it is damaged, or of another run."""
        header, tensors = load_checkpoint(path, FORMAT, self.config)
        size = [self.source.width, self.source.height]
        if header.get("picture") != size:
            rule = f"it is of a picture of {header.get('picture')} pixels, this one has {size}"
            raise FormatError(path, "picture", rule, "give the picture that the run began with")
        try:
            generator = torch.Generator()
            generator.set_state(tensors["generator"])
            network = [AdamRows.from_tensors(f"network.{index}", tensors) for index in range(3)]
            table = AdamRows.from_tensors("table", tensors)
            return ImageState(table, network, generator, header["step"], header["seconds"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise damaged(path, error) from error
