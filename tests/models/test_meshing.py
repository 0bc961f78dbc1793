"""Proves meshes and points of fields and Gaussians, by balls known exactly: closed over blocks, in place, coloured."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from balls import ball as gaussian_ball
from known_fields import ball, density_field, distance_field

from h3d.models.datasets import NgpSpace
from h3d.models.gaussian_volume import THRESHOLD
from h3d.models.gaussians import Gaussians, from_rows
from h3d.models.initial_gaussians import initial_gaussians
from h3d.models.meshes.mesh import open_edges
from h3d.models.meshing import MARCHED_SHARE, MeshingOptions, isosurface, point_cloud
from h3d.models.procedural import make_object
from h3d.models.procedural.views import surface_normals
from h3d.models.signed_distance import SignedDistanceField
from h3d.renderers.cancel import CancelFlag, Cancelled

CENTRE = np.array([1.0, 2.0, 3.0])
VOLUME = 4.0 / 3.0 * np.pi * 0.6**3  # of the ball in the asset's axes


@pytest.fixture(scope="module")
def field() -> SignedDistanceField:
    return distance_field(ball)


def log_density(points: np.ndarray) -> np.ndarray:
    """exp of this is 12.2 on the ball; ten times the slope of a fog, a tenth of a wall's."""
    return 2.5 - 60.0 * ball(points)


@pytest.mark.parametrize("resolution", [40, 96])
def test_a_ball_is_closed_over_the_borders_of_blocks_and_looks_outwards(field: SignedDistanceField, resolution: int):
    mesh = isosurface(field, MeshingOptions(resolution=resolution))
    assert open_edges(mesh) == 0 and open_edges(mesh.welded()) == 0
    assert mesh.volume == pytest.approx(VOLUME, rel=0.01)
    assert np.allclose(np.linalg.norm(mesh.vertices - CENTRE, axis=1), 0.6, atol=3e-3)
    assert mesh.normals is not None and mesh.colors is None
    assert np.allclose(mesh.normals, (mesh.vertices - CENTRE) / 0.6, atol=0.1)
    assert len(mesh.vertices) - len(mesh.faces) / 2 == 2  # Euler: one ball, nothing else


def test_only_blocks_that_the_surface_passes_are_asked_for(field: SignedDistanceField, monkeypatch: pytest.MonkeyPatch):
    asked = 0
    plain = SignedDistanceField.unit_distance

    def counted(self: SignedDistanceField, points: torch.Tensor, **more) -> torch.Tensor:
        nonlocal asked
        asked += len(points)
        return plain(self, points, **more)

    monkeypatch.setattr(SignedDistanceField, "unit_distance", counted)
    isosurface(field, MeshingOptions(resolution=256))
    assert asked < 0.4 * 256**3


def test_a_threshold_moves_the_surface(field: SignedDistanceField):
    mesh = isosurface(field, MeshingOptions(resolution=64, threshold=0.2))
    assert np.allclose(np.linalg.norm(mesh.vertices - CENTRE, axis=1), 0.8, atol=3e-3)


def test_a_crop_box_takes_a_part_and_leaves_it_open(field: SignedDistanceField):
    mesh = isosurface(field, MeshingOptions(resolution=64, crop_low=(0.5, 0.0, 0.0)))
    assert mesh.vertices[:, 0].min() == pytest.approx(CENTRE[0], abs=1e-6)
    assert open_edges(mesh) > 20


def test_crumbs_go_with_all_but_the_largest_component():
    def two_balls(points: np.ndarray) -> np.ndarray:
        return np.minimum(ball(points, 0.2), np.linalg.norm(points - [0.85, 0.5, 0.5], axis=1) - 0.06)

    both = isosurface(distance_field(two_balls), MeshingOptions(resolution=96))
    one = isosurface(distance_field(two_balls), MeshingOptions(resolution=96, largest_component=True))
    assert len(both.vertices) - len(both.faces) / 2 == 4 and len(one.vertices) - len(one.faces) / 2 == 2
    assert one.vertices[:, 0].max() < CENTRE[0] + 0.45 and both.vertices[:, 0].max() > CENTRE[0] + 0.7


def test_a_radiance_field_becomes_a_coloured_mesh_in_the_worlds_axes():
    space = NgpSpace(0.25, (0.1, 0.2, 0.3))
    field = density_field(log_density, torch.from_numpy(space.matrix))
    mesh = isosurface(field, MeshingOptions(resolution=96))
    placed = mesh.vertices @ space.matrix[:3, :3].T + space.matrix[:3, 3]
    assert np.allclose(np.linalg.norm(placed - 0.5, axis=1), 0.3, atol=2e-3)
    assert open_edges(mesh) == 0 and mesh.volume > 0.0
    assert mesh.colors is not None
    # Colour is logistic of a tenth of the logarithm of the density: on the surface that is 2.5.
    assert np.allclose(mesh.colors, 1.0 / (1.0 + np.exp(-0.25)), atol=0.02)
    # The threshold is a density per unit of the world: a quarter as much there as in the unit cube.
    same = isosurface(field, MeshingOptions(resolution=96, threshold=0.25 * np.exp(2.5), colors=False))
    assert np.allclose(same.vertices, mesh.vertices, atol=1e-5) and same.colors is None


def one_gaussian(scales: tuple[float, float, float]) -> Gaussians:
    """At (1, 2, 3), a third of a turn about the diagonal away from the axes: x is y, y is z, z is x."""
    return from_rows(
        means=CENTRE[None],
        quats=np.array([[0.5, 0.5, 0.5, 0.5]]),
        log_scales=np.log([scales]),
        logit_opacities=np.array([20.0]),
        sh=np.zeros((1, 1, 3)),
    )


@pytest.mark.parametrize("threshold", [THRESHOLD, 0.6])
def test_one_gaussian_is_an_ellipsoid_where_its_density_is_the_threshold(threshold: float):
    mesh = isosurface(one_gaussian((0.1, 0.2, 0.4)), MeshingOptions(resolution=96, threshold=threshold, colors=False))
    deviations = (mesh.vertices - CENTRE) / (0.4, 0.1, 0.2)
    assert np.allclose(np.linalg.norm(deviations, axis=1), np.sqrt(-2.0 * np.log(threshold)), rtol=0.01)
    assert open_edges(mesh) == 0 and mesh.volume > 0.0 and mesh.colors is None


@pytest.mark.parametrize("resolution", [40, 96])
def test_a_ball_of_gaussians_is_a_closed_coloured_shell_whatever_the_order_of_rows(resolution: int):
    gaussians = gaussian_ball((0.9, 0.1, 0.1))
    mesh = isosurface(gaussians, MeshingOptions(resolution=resolution, largest_component=True))
    radii = np.linalg.norm(mesh.vertices, axis=1)
    # Rows are 0.06 wide; their density is 3.5 on the ball on the average, and so a quarter 2.3 widths farther out.
    assert open_edges(mesh) == 0 and len(mesh.vertices) - len(mesh.faces) / 2 == 2
    assert np.isclose(np.median(radii), 1.0 + 2.3 * 0.06, atol=0.01)
    assert radii.min() > 1.0 and radii.max() < 1.0 + 3.0 * 0.06
    assert mesh.colors is not None and np.abs(mesh.colors - (0.9, 0.1, 0.1)).max() < 0.02
    shuffled = gaussians.keep(torch.randperm(len(gaussians), generator=torch.Generator().manual_seed(0)))
    again = isosurface(shuffled, MeshingOptions(resolution=resolution, largest_component=True, colors=False))
    assert np.array_equal(again.vertices, mesh.vertices) and np.array_equal(again.faces, mesh.faces)


def test_gaussians_strewn_over_an_object_become_its_surface():
    solid, draws = make_object(1_000_003).solid, np.random.default_rng(0)
    points = draws.uniform(-0.75, 0.75, (200_000, 3)).astype(np.float32)
    points = points[np.abs(solid.distance(points)) < 0.03][:10_000]
    for _ in range(3):
        points -= solid.distance(points)[:, None] * surface_normals(solid, points)
    made = initial_gaussians(torch.from_numpy(points), None, torch.Generator().manual_seed(0), 0, opacity=0.9)
    mesh = isosurface(made, MeshingOptions(resolution=96, largest_component=True, colors=False))
    width = float(made.scales.mean())
    distances = solid.distance(mesh.vertices.astype(np.float32))
    assert open_edges(mesh) == 0 and float(np.quantile(distances, 0.99)) < 4.0 * width
    assert float(np.median(np.abs(distances))) < 2.5 * width


def test_what_no_camera_saw_is_not_meshed():
    field = density_field(log_density)
    half = field.thickness.clone()
    from h3d.renderers.fields import cell_centers

    half[0, cell_centers(torch.arange(half.shape[1]), 0)[:, 0] > 0.5] = -1.0
    unseen = type(field)(**{**vars(field), "thickness": half})
    assert isosurface(unseen, MeshingOptions(resolution=64)).vertices[:, 0].max() < 0.53


def test_points_on_gaussians_lie_on_their_surface_and_are_coloured():
    found = point_cloud(gaussian_ball((0.1, 0.7, 0.1)), 500, MeshingOptions(resolution=64, largest_component=True))
    radii = np.linalg.norm(found.points, axis=1)
    assert radii.min() > 1.0 and radii.max() < 1.18
    assert found.colors is not None and np.abs(found.colors - (0.1, 0.7, 0.1)).max() < 0.02


@pytest.mark.parametrize("kind", ["distances", "densities"])
def test_points_lie_on_the_surface_with_normals_outwards(kind: str):
    field, centre, radius = (distance_field(ball), CENTRE, 0.6) if kind == "distances" else (
        density_field(log_density), np.full(3, 0.5), 0.3
    )  # fmt: skip
    found = point_cloud(field, 3000, MeshingOptions(resolution=64))
    assert found.points.shape == (3000, 3)
    assert np.allclose(np.linalg.norm(found.points - centre, axis=1), radius, atol=4e-3)
    outwards = (found.points - centre) / radius
    assert float((outwards * found.normals).sum(axis=1).min()) > 0.97
    assert (found.colors is None) == (kind == "distances")
    # Evenly: as much on either side.
    assert abs(float((outwards > 0).mean()) - 0.5) < 0.03
    again = point_cloud(field, 3000, MeshingOptions(resolution=64))
    assert np.array_equal(found.points, again.points)


def test_wrong_wishes_get_one_sentence(field: SignedDistanceField):
    with pytest.raises(ValueError, match="there is no surface at this threshold"):
        isosurface(field, MeshingOptions(resolution=32, threshold=-5.0))
    with pytest.raises(ValueError, match="resolution 4: must be 8 to 2048"):
        MeshingOptions(resolution=4)
    with pytest.raises(ValueError, match="threshold nan: must be finite"):
        MeshingOptions(threshold=float("nan"))
    with pytest.raises(ValueError, match="must be 0 <= low < high <= 1"):
        MeshingOptions(crop_low=(0.5, 0.0, 0.0), crop_high=(0.5, 1.0, 1.0))
    with pytest.raises(ValueError, match="the density at the surface must be above 0"):
        isosurface(density_field(log_density), MeshingOptions(threshold=0.0))
    with pytest.raises(ValueError, match="threshold -1.0: the density at the surface must be above 0"):
        isosurface(one_gaussian((0.1, 0.1, 0.1)), MeshingOptions(threshold=-1.0))
    with pytest.raises(ValueError, match="the Gaussians: there is no surface at this threshold"):
        isosurface(one_gaussian((0.1, 0.1, 0.1)), MeshingOptions(threshold=2.0))
    with pytest.raises(ValueError, match="count 0: must be 1"):
        point_cloud(field, 0)


def test_fields_without_a_surface_are_refused():
    from analytic_fields import BallField

    with pytest.raises(ValueError, match="a BallField has no surface to mesh"):
        isosurface(BallField())


def test_it_tells_how_far_it_is_and_can_be_stopped(field: SignedDistanceField):
    told: list[float] = []
    isosurface(field, MeshingOptions(resolution=256), progress=told.append)
    assert len(told) > 1 and told == sorted(told) and 0.0 <= told[0] < told[-1] <= 1.0
    told.clear()
    colored = density_field(lambda p: 2.5 - 60.0 * ball(p))
    point_cloud(colored, 100, MeshingOptions(resolution=64), progress=told.append)
    assert told == sorted(told) and told[-1] == MARCHED_SHARE, "the colours come last"
    flag = CancelFlag()
    flag.set()
    with pytest.raises(Cancelled):
        isosurface(field, cancel=flag)
