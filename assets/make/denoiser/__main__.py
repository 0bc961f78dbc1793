"""Makes the embedded denoiser; hours on two cores, and it may be stopped at any time.

python -m h3d.assets.make.denoiser train --out RUN [--minutes 60] [--steps 60000] [--objects 4096]
    trains, or goes on where RUN was
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import numpy as np
import torch

from h3d.models.diffusion.network import NetworkConfig

from . import training
from .dataset import open_dataset
from .training import TrainingOptions

LOG_EVERY = 100
SAVE_SECONDS = 600.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("train")
    verb.add_argument("--out", type=Path, required=True, help="folder of the run")
    verb.add_argument("--views", type=Path, help="folder of the training pictures; none = beside the run")
    verb.add_argument("--minutes", type=float, default=60.0, help="stop after these; the run may go on later")
    verb.add_argument("--steps", type=int, default=TrainingOptions.steps)
    verb.add_argument("--objects", type=int, default=4096)
    verb.add_argument("--threads", type=int, default=2)
    verb.add_argument("--seed", type=int, default=TrainingOptions.seed)
    verb.add_argument("--precision", choices=("float32", "bfloat16"), default=TrainingOptions.precision)
    verb.add_argument("--device", default="cpu")
    verb.set_defaults(run=_train)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s  %(message)s")
    options.run(options)


def _train(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    options = TrainingOptions(seed=args.seed, steps=args.steps, precision=args.precision, device=args.device)
    if (args.out / training.CHECKPOINT).exists():
        state, options = training.load(args.out, options)
    else:
        state = training.new_state(NetworkConfig(), options)
    size = state.network.config.size
    views = args.views or args.out.parent / f"views_{size}"
    dataset = open_dataset(views, args.objects, size)
    training.trim_log(args.out, state.step)
    started = saved = time.monotonic()
    losses: list[float] = []
    for step in training.train(state, dataset, options):
        losses.append(step.loss)
        if step.step % LOG_EVERY == 0:
            training.add_to_log(args.out, step.step, step.seconds, float(np.mean(losses)))
            losses.clear()
        now = time.monotonic()
        if now - saved > SAVE_SECONDS:
            training.save(state, options, args.out)
            saved = now
        if now - started > 60.0 * args.minutes:
            break
    training.save(state, options, args.out)


if __name__ == "__main__":
    main()
