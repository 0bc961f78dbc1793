"""Our Gaussians as a method of nerfstudio: `ns-train h3d-gaussians --data DATA`, on the CPU.

nerfstudio brings the photos (any of its data parsers), its folders, its viewer and its exporters; a step is one of our
trainer's, the gradient and Adam included, so nerfstudio's optimisers have nothing to do. Checkpoints are laid out as
splatfacto's and carry ours as bytes beside it, which --load-dir goes on with. It runs in nerfstudio's environment,
where our viewer's packages are of other versions: nothing of `h3d.app` but this file is imported.
Source: nerfstudio 1.1.5, plugins/registry.py, models/splatfacto.py, pipelines/base_pipeline.py, engine/trainer.py.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

# nerfstudio is not among our requirements, which exclude it: pyright does not see it.
from nerfstudio.cameras.cameras import Cameras  # pyright: ignore[reportMissingImports]
from nerfstudio.configs.base_config import MachineConfig, ViewerConfig  # pyright: ignore[reportMissingImports]
from nerfstudio.data.datamanagers.full_images_datamanager import (  # pyright: ignore[reportMissingImports]
    FullImageDatamanagerConfig,
)
from nerfstudio.data.dataparsers.nerfstudio_dataparser import (  # pyright: ignore[reportMissingImports]
    NerfstudioDataParserConfig,
)
from nerfstudio.engine.trainer import Trainer, TrainerConfig  # pyright: ignore[reportMissingImports]
from nerfstudio.models.base_model import ModelConfig  # pyright: ignore[reportMissingImports]
from nerfstudio.models.splatfacto import SplatfactoModel  # pyright: ignore[reportMissingImports]
from nerfstudio.pipelines.base_pipeline import (  # pyright: ignore[reportMissingImports]
    VanillaPipeline,
    VanillaPipelineConfig,
)
from nerfstudio.plugins.types import MethodSpecification  # pyright: ignore[reportMissingImports]

from h3d.models import losses
from h3d.models.datasets import PosedImage, PosedImages
from h3d.models.datasets.ngp_space import fitted
from h3d.models.datasets.poses import OPENGL_TO_OPENCV
from h3d.models.gaussians import Gaussians
from h3d.models.meshes.library import open3d
from h3d.models.training import Step
from h3d.models.training.gaussians import GaussiansTrainer, GaussiansTraining
from h3d.models.training.gaussians_state import GaussiansState
from h3d.models.training.loop import steps
from h3d.models.training.pinhole_photos import PinholePhoto
from h3d.renderers.gaussians import RasterOptions, rasterize_gaussians
from h3d.renderers.image_loss import image_loss

COLUMNS = {"means": "means", "scales": "log_scales", "quats": "quats", "opacities": "logit_opacities"}
"""Names of splatfacto's parameters, and of the groups of our rows that they are."""


@dataclass
class GaussiansModelConfig(ModelConfig):
    """How Gaussians are learnt, and where they are drawn."""

    _target: type = field(default_factory=lambda: GaussiansModel)
    training: GaussiansTraining = field(default_factory=lambda: GaussiansTraining(downscale=1))
    """Of our trainer. Photos come as nerfstudio's data manager has reduced them, `downscale` does nothing here."""

    @property
    def sh_degree(self) -> int:
        """What nerfstudio's exporter of splatfacto asks for."""
        return self.training.sh_degree


class GaussiansModel(SplatfactoModel):
    """Rows that our trainer moves, drawn by our rasteriser; a splatfacto to nerfstudio's viewer and exporters."""

    config: Any

    def populate_modules(self) -> None:
        """Empty rows: the pipeline, which has the photos, or a checkpoint brings them."""
        self.crop_box = None
        self.background_color = torch.zeros(3) if self.config.training.background == "black" else torch.ones(3)
        harmonics = (self.config.training.sh_degree + 1) ** 2 - 1
        shapes = {
            "means": (3,), "scales": (3,), "quats": (4,), "opacities": (1,),
            "features_dc": (3,), "features_rest": (harmonics, 3),
        }  # fmt: skip
        self.gauss_params = torch.nn.ParameterDict({name: torch.empty(0, *shape) for name, shape in shapes.items()})

    def show(self, state: GaussiansState) -> None:
        """Makes the parameters those that are being learnt: the same memory, not a copy."""
        found = {name: state.rows.values(group) for name, group in COLUMNS.items()}
        found |= {"features_dc": state.rows.sh[:, 0], "features_rest": state.rows.sh[:, 1:]}
        for name, values in found.items():
            self.gauss_params[name] = torch.nn.Parameter(values.detach(), requires_grad=False)

    def get_param_groups(self) -> dict[str, list[torch.nn.Parameter]]:
        """None for nerfstudio's optimisers."""
        return {}

    def get_training_callbacks(self, training_callback_attributes: Any) -> list[Any]:
        """None of splatfacto's: our trainer densifies."""
        del training_callback_attributes
        return []

    def get_outputs(self, camera: Cameras) -> dict[str, Any]:
        """The picture of one camera, [H, W, C] each."""
        rows = torch.ones(len(self.means), dtype=torch.bool)
        if self.crop_box is not None:
            rows = self.crop_box.within(self.means).reshape(-1)
        width, height = int(camera.width.item()), int(camera.height.item())
        red, green, blue = (float(channel) for channel in self.background_color)
        antialiased = self.config.training.antialiased
        options = RasterOptions(background=(red, green, blue), antialiased=antialiased, backend="cpu")
        seen = rasterize_gaussians(
            self.means[rows],
            torch.nn.functional.normalize(self.quats[rows], dim=-1),
            self.scales[rows].exp(),
            self.opacities[rows, 0].sigmoid(),
            torch.cat([self.features_dc[:, None], self.features_rest], dim=1)[rows],
            torch.from_numpy(np.linalg.inv(_pose(camera)).astype(np.float32))[None],
            camera.get_intrinsics_matrices().reshape(1, 3, 3).float(),
            width,
            height,
            options=options,
        )
        assert seen.depth is not None
        return {
            "rgb": seen.rgb[0].clamp(0.0, 1.0),
            "depth": seen.depth[0][..., None],
            "accumulation": seen.alpha[0][..., None],
            "background": self.background_color.expand(height, width, 3),
        }

    def get_metrics_dict(self, outputs: dict[str, Any], batch: dict[str, Any]) -> dict[str, Any]:
        """PSNR of a picture, and the number of rows."""
        photo = self._photo(outputs, batch)
        return {"psnr": losses.psnr(outputs["rgb"], photo), "gaussian_count": len(self.means)}

    def get_loss_dict(self, outputs: dict[str, Any], batch: dict[str, Any], metrics_dict: Any = None) -> dict[str, Any]:
        """The loss of a picture that nothing is learnt from."""
        del metrics_dict
        found = image_loss(outputs["rgb"], self._photo(outputs, batch), ssim_share=self.config.training.ssim_share)
        return {"main_loss": found.loss}

    def get_image_metrics_and_images(
        self, outputs: dict[str, Any], batch: dict[str, Any]
    ) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
        """PSNR and SSIM; the photo with its rendering to the right. LPIPS would want weights from the network."""
        photo = self._photo(outputs, batch)
        metrics = {"psnr": float(losses.psnr(outputs["rgb"], photo))}
        if min(photo.shape[:2]) >= losses.WINDOW:
            metrics["ssim"] = float(losses.ssim(outputs["rgb"], photo))
        return metrics, {"img": torch.cat([photo, outputs["rgb"]], dim=1)}

    def _photo(self, outputs: dict[str, Any], batch: dict[str, Any]) -> torch.Tensor:  # [H, W, 3]
        """The photo on the background; where it is masked it counts as right."""
        image = batch["image"].float() / (255.0 if batch["image"].dtype == torch.uint8 else 1.0)
        photo = self.composite_with_background(image, outputs["background"])
        return torch.where(batch["mask"], photo, outputs["rgb"]) if "mask" in batch else photo


@dataclass
class GaussiansPipelineConfig(VanillaPipelineConfig):
    """Data and model."""

    _target: type = field(default_factory=lambda: GaussiansPipeline)


class GaussiansPipeline(VanillaPipeline):
    """Hands nerfstudio's photos to our trainer, and its steps back."""

    _steps: Iterator[Step[Gaussians]] | None = None
    _trainer: GaussiansTrainer
    _state: GaussiansState
    _stored = torch.zeros(0, dtype=torch.uint8)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        # nerfstudio reads points with open3d, which a bare system cannot load by itself.
        open3d()
        super().__init__(*arguments, **named)

    def get_train_loss_dict(self, step: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """One step of our trainer. Raises: RuntimeError when the loss is no longer a number."""
        del step
        if self._steps is None:
            self._begin()
        assert self._steps is not None
        done = next(self._steps)
        self.model.show(self._state)
        return {}, {"main_loss": torch.tensor(done.loss)}, {"gaussian_count": len(self._state.rows)}

    def _begin(self) -> None:
        photos = tuple(_photos(self.datamanager))
        self._trainer = GaussiansTrainer(_dataset(self.datamanager), self.config.model.training, photos)
        if len(self._stored) == 0:
            self._state = self._trainer.start()
        else:
            with tempfile.TemporaryDirectory(prefix="h3d-") as folder:
                path = Path(folder) / "checkpoint.safetensors"
                path.write_bytes(self._stored.numpy().tobytes())
                self._state = self._trainer.load(path)
        self._steps = steps(self._trainer, self._state)

    def get_extra_state(self) -> torch.Tensor:  # [bytes] uint8
        """Our own checkpoint, for `state_dict`."""
        if self._steps is None:
            return self._stored
        with tempfile.TemporaryDirectory(prefix="h3d-") as folder:
            path = Path(folder) / "checkpoint.safetensors"
            self._trainer.save(path, self._state)
            return torch.from_numpy(np.frombuffer(path.read_bytes(), np.uint8).copy())

    def set_extra_state(self, state: torch.Tensor) -> None:
        """The inverse of `get_extra_state`; read when training begins."""
        self._stored, self._steps = state, None


class GaussiansNerfstudioTrainer(Trainer):
    """nerfstudio's loop around steps that need no gradient of it."""

    def train_iteration(self, step: int) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        """One step; the loss, its parts, and what else is plotted."""
        _, parts, metrics = self.pipeline.get_train_loss_dict(step=step)
        return sum(parts.values()), parts, metrics


def _pose(camera: Cameras) -> np.ndarray:  # [4, 4] OpenCV axes, camera to world
    pose = np.eye(4)
    pose[:3] = camera.camera_to_worlds.detach().cpu().double().numpy().reshape(3, 4)
    return pose @ OPENGL_TO_OPENCV


def _photos(datamanager: Any) -> Iterator[PinholePhoto]:
    """The training photos, whose lenses nerfstudio has undone."""
    pictures, cameras = datamanager.cached_train, datamanager.train_dataset.cameras
    for index, picture in enumerate(pictures):
        pixels, camera, mask = picture["image"], cameras[index : index + 1], picture.get("mask")
        if pixels.dtype != torch.uint8:
            pixels = (pixels.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
        yield PinholePhoto(
            viewmat=torch.from_numpy(np.linalg.inv(_pose(camera)).astype(np.float32)),
            K=camera.get_intrinsics_matrices()[0].float(),
            pixels=pixels.cpu().contiguous(),
            known=None if mask is None else mask[..., 0].bool().cpu(),
        )


def _dataset(datamanager: Any) -> PosedImages:
    """Where the cameras and points are, in nerfstudio's coordinates."""
    cameras, parsed = datamanager.train_dataset.cameras, datamanager.train_dataparser_outputs
    images = []
    for index, name in enumerate(datamanager.train_dataset.image_filenames):
        camera = cameras[index : index + 1]
        K = camera.get_intrinsics_matrices()[0].double().numpy()
        images.append(PosedImage(Path(name), _pose(camera), K, int(camera.width.item()), int(camera.height.item())))
    points, colors = (parsed.metadata.get(key) for key in ("points3D_xyz", "points3D_rgb"))
    points = None if points is None else points.float().numpy()
    space, aabb_scale = fitted(np.stack([image.camera_to_world for image in images]), points)
    data = Path(datamanager.get_datapath())
    return PosedImages(
        name=data.resolve().name,
        path=data,
        images=tuple(images),
        train=tuple(range(len(images))),
        test=(),
        space=space,
        aabb_scale=aabb_scale,
        points=points,
        point_colors=None if colors is None else colors.numpy().astype(np.uint8),
    )


gaussians = MethodSpecification(
    config=TrainerConfig(
        _target=GaussiansNerfstudioTrainer,
        method_name="h3d-gaussians",
        steps_per_eval_batch=0,
        steps_per_eval_image=500,
        steps_per_eval_all_images=5000,
        steps_per_save=2000,
        max_num_iterations=15_000,
        machine=MachineConfig(device_type="cpu"),
        pipeline=GaussiansPipelineConfig(
            datamanager=FullImageDatamanagerConfig(
                dataparser=NerfstudioDataParserConfig(load_3D_points=True), cache_images_type="uint8"
            ),
            model=GaussiansModelConfig(),
        ),
        optimizers={},
        viewer=ViewerConfig(num_rays_per_chunk=1 << 15),
        vis="viewer",
    ),
    description="h3d-view's 3D Gaussians, trained on the CPU.",
)
"""What the entry point `nerfstudio.method_configs` names."""
