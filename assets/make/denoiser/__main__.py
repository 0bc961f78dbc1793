"""Makes the embedded denoiser; hours on two cores, and it may be stopped at any time.

python -m h3d.assets.make.denoiser train --out RUN [--minutes 60] [--steps 30000] [--objects 4096] [--weights FILE]
    trains, or goes on where RUN was; a new run may begin with a denoiser that there is
python -m h3d.assets.make.denoiser test --run RUN [--objects 50] [--views 4] [--steps 25] [--guidance 2]
    draws novel views of held-out objects: test.json, test.png
python -m h3d.assets.make.denoiser export --run RUN [--output FILE]
    writes the averaged weights and their record, with what the last test found
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

import h3d.assets
from h3d.models.diffusion.embedded import SHIPPED, EmbeddedDenoiser, load_embedded, write_embedded
from h3d.models.diffusion.network import NetworkConfig
from h3d.models.formats.atomic import replacing

from . import testing, training
from .dataset import OBJECTS, open_dataset
from .testing import HeldOutOptions
from .training import TrainingOptions

LOG_EVERY = 100
SAVE_SECONDS = 600.0
CURVE_POINTS = 60
TEST, SHEET = "test.json", "test.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("train")
    verb.add_argument("--out", type=Path, required=True, help="folder of the run")
    verb.add_argument("--views", type=Path, help="folder of the training pictures; none = beside the run")
    verb.add_argument("--minutes", type=float, default=60.0, help="stop after these; the run may go on later")
    verb.add_argument("--steps", type=int, default=TrainingOptions.steps)
    verb.add_argument("--objects", type=int, default=4096)
    verb.add_argument("--weights", type=Path, help="a denoiser to begin with, such as the shipped one; none = random")
    verb.add_argument("--threads", type=int, default=2)
    verb.add_argument("--seed", type=int, default=TrainingOptions.seed)
    verb.add_argument("--precision", choices=("float32", "bfloat16"), default=TrainingOptions.precision)
    verb.add_argument("--device", default="cpu")
    verb.set_defaults(run=_train)
    verb = verbs.add_parser("test")
    verb.add_argument("--run", dest="folder", type=Path, required=True)
    verb.add_argument("--views-folder", type=Path, help="folder of the training pictures; none = beside the run")
    verb.add_argument("--objects", type=int, default=HeldOutOptions.objects)
    verb.add_argument("--views", type=int, default=HeldOutOptions.views)
    verb.add_argument("--steps", type=int, default=HeldOutOptions.steps)
    verb.add_argument("--guidance", type=float, default=HeldOutOptions.guidance_scale)
    verb.set_defaults(run=_test)
    verb = verbs.add_parser("export")
    verb.add_argument("--run", dest="folder", type=Path, required=True)
    verb.add_argument("--output", type=Path, default=h3d.assets.path(SHIPPED))
    verb.set_defaults(run=_export)
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
        denoiser = None if args.weights is None else load_embedded(args.weights)
        config = NetworkConfig() if denoiser is None else denoiser.network.config
        state = training.new_state(config, options)
        if denoiser is not None:
            training.begin_with(state, denoiser)
    size = state.network.config.size
    dataset = open_dataset(args.views or args.out.parent / f"views_{size}", args.objects, size)
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


def _test(args: argparse.Namespace) -> None:
    network, header = training.averaged_network(args.folder)
    size = network.config.size
    dataset = open_dataset(args.views_folder or args.folder.parent / f"views_{size}", OBJECTS, size)
    options = HeldOutOptions(args.objects, args.views, args.steps, args.guidance)
    result = testing.run_held_out(EmbeddedDenoiser(network), testing.mean_training_picture(dataset), options)
    found = {"trained_steps": header["step"], **asdict(options), **result.numbers}
    with replacing(args.folder / TEST) as file:
        file.write((json.dumps(found, indent=2) + "\n").encode())
    testing.write_sheet(result.sheet, args.folder / SHEET)
    print(json.dumps(found, indent=2))


def _export(args: argparse.Namespace) -> None:
    network, header = training.averaged_network(args.folder)
    record = {
        "steps": header["step"],
        "earlier_steps": header.get("earlier_steps", 0),
        "hours": round(header["seconds"] / 3600.0, 2),
        "parameters": sum(value.numel() for value in network.parameters()),
        "options": header["options"],
        "loss_curve": _loss_curve(args.folder),
        "test": json.loads((args.folder / TEST).read_text()) if (args.folder / TEST).exists() else None,
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_embedded(network, record, args.output)
    with replacing(args.output.with_suffix(".json")) as file:
        file.write((json.dumps(record, indent=2) + "\n").encode())
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.1f} MB after {record['steps']} steps")


def _loss_curve(folder: Path) -> list[tuple[int, float]]:
    """Steps and losses, thinned; each loss is the mean over the rows that it stands for."""
    with open(folder / training.LOG, newline="") as file:
        rows = [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file)]
    groups = np.array_split(np.array(rows), min(CURVE_POINTS, len(rows))) if rows else []
    return [(int(group[-1, 0]), round(float(group[:, 1].mean()), 5)) for group in groups]


if __name__ == "__main__":
    main()
