"""Pretrained denoisers on this disk: folders in diffusers' layout, stock classes only.

    FOLDER/unet, vae, scheduler, ...   each with its config and *.safetensors

Nothing is fetched, no code of a folder is run, and pickles (.bin, .ckpt) are not read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch

from .denoiser import Prediction
from .schedule import NoiseSchedule, scaled_linear


class WeightsError(ValueError):
    """A denoiser that cannot be loaded: what is missing, and which folder would do."""


def require_parts(folder: Path, parts: tuple[str, ...], what: str) -> None:
    """Checks that a folder has these sub-folders, those of networks with safetensors.

    Raises:
        WeightsError: it has not.
    """
    layout = f"give a folder in diffusers layout with {', '.join(parts)}, such as a snapshot of the model's repository"
    if not folder.is_dir():
        raise WeightsError(f"{folder}: there is no such folder for {what}; {layout}")
    absent = [part for part in parts if not (folder / part).is_dir()]
    if len(absent) > 0:
        raise WeightsError(f"{folder}: {what} needs {', '.join(absent)}, which the folder has not; {layout}")
    for part in parts:
        if part not in ("scheduler", "tokenizer"):
            weights_variant(folder / part)


def weights_variant(part: Path) -> str | None:
    """None where full-precision safetensors lie in a network's folder, "fp16" where only those do.

    Raises:
        WeightsError: there are none.
    """
    names = [path.name for path in part.glob("*.safetensors")]
    if any(".fp16." not in name for name in names):
        return None
    if len(names) > 0:
        return "fp16"
    pickles = sorted(path.name for path in (*part.glob("*.bin"), *part.glob("*.ckpt")))
    found = f"only {pickles[0]}, a pickle, which is never read" if pickles else "no weights"
    raise WeightsError(f"{part}: it holds {found}; convert the model to safetensors")


def load_part(kind: Any, folder: Path, part: str, dtype: torch.dtype) -> Any:
    """A network of a stock class of diffusers or transformers, frozen.

    Raises:
        WeightsError: it does not load.
    """
    name = "torch_dtype" if kind.__module__.startswith("diffusers") else "dtype"
    try:
        loaded = kind.from_pretrained(
            str(folder / part),
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=False,
            variant=weights_variant(folder / part),
            **{name: dtype},
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{folder / part}: no {kind.__name__} loads from it ({reason}); fetch it again") from error
    return loaded.eval().requires_grad_(False)


def read_schedule(folder: Path) -> tuple[NoiseSchedule, Prediction]:
    """The noise of a folder's scheduler, and what its UNet predicts.

    Raises:
        WeightsError: it cannot be read, or is of a kind that Stable Diffusion and Zero123 do not have.
    """
    path = folder / "scheduler" / "scheduler_config.json"
    config = read_json(path)
    found, prediction = config.get("beta_schedule"), config.get("prediction_type", "epsilon")
    if found != "scaled_linear" or config.get("trained_betas") is not None:
        raise WeightsError(f"{path}: beta_schedule is {found!r}; only 'scaled_linear' is known here")
    if prediction not in ("epsilon", "v_prediction"):
        raise WeightsError(f"{path}: prediction_type is {prediction!r}; it must be 'epsilon' or 'v_prediction'")
    try:
        count, low, high = int(config["num_train_timesteps"]), float(config["beta_start"]), float(config["beta_end"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: num_train_timesteps, beta_start and beta_end must be numbers ({error})") from error
    return NoiseSchedule(scaled_linear(count, low, high)), prediction


def read_json(path: Path) -> Mapping[str, Any]:
    """A JSON object of a folder.

    Raises:
        WeightsError: it is not there, or is none.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: it cannot be read as JSON ({error}); fetch the folder again") from error
    if not isinstance(value, dict):
        raise WeightsError(f"{path}: it holds no JSON object; fetch the folder again")
    return value


def transformers_classes(*names: str) -> tuple[Any, ...]:
    """Classes of transformers, which is an extra.

    Raises:
        WeightsError: it is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise WeightsError(
            "pretrained denoisers need transformers, which is not installed; install it: "
            "pip install 'h3d-view[pretrained]'"
        ) from error
    return tuple(getattr(transformers, name) for name in names)
