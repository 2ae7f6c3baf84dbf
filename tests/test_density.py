"""The reference density against brute force, and the fused graph against the reference."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from engines.arrays import pack_density, unpack_density
from engines.density import (
    Direct,
    Kde,
    LatentDensity,
    Mixture,
    Projection,
    Tilted,
    drive_weights,
    fit_projection,
    logsumexp,
    within_precision,
)
from engines.graph import FEATURES, OUTPUTS, fuse
from engines.scores import Cells, Density, Features, Scores, reference_scores

RANDOM = np.random.default_rng(7)


def brute_force(kde: Kde, query: np.ndarray) -> list[float]:
    """-log density, one kernel at a time, with Python's own exact sum."""
    size = kde.support.shape[1]
    norm = -0.5 * size * math.log(2 * math.pi * kde.bandwidth**2)
    result = []
    for q in query:
        terms = [
            float(w) + norm - 0.5 * math.fsum(((q - s) / kde.bandwidth) ** 2)
            for w, s in zip(kde.log_weights, kde.support, strict=True)
        ]
        peak = max(terms)
        result.append(-(peak + math.log(math.fsum(math.exp(t - peak) for t in terms))))
    return result


def some_kde(points: int = 40, size: int = 6, bandwidth: float = 0.7) -> Kde:
    weights = RANDOM.random(points)
    return Kde(RANDOM.normal(size=(points, size)), np.log(weights / weights.sum()), bandwidth)


@pytest.mark.parametrize("distance", [0.0, 3.0, 30.0, 1000.0])
def test_surprise_equals_brute_force(distance: float) -> None:
    kde = some_kde()
    query = RANDOM.normal(size=(9, 6)) + distance
    np.testing.assert_allclose(kde.surprise(query), brute_force(kde, query), rtol=1e-12, atol=1e-9)


def test_surprise_ignores_order_and_moves_with_the_data() -> None:
    kde, query = some_kde(), RANDOM.normal(size=(5, 6))
    order = RANDOM.permutation(len(kde.support))
    shuffled = Kde(kde.support[order], kde.log_weights[order], kde.bandwidth)
    shifted = Kde(kde.support + 3.0, kde.log_weights, kde.bandwidth)
    np.testing.assert_allclose(shuffled.surprise(query), kde.surprise(query), atol=1e-12)
    np.testing.assert_allclose(shifted.surprise(query + 3.0), kde.surprise(query), atol=1e-9)


def test_many_rows_are_scored_like_few() -> None:
    kde, query = some_kde(), RANDOM.normal(size=(5000, 6))
    np.testing.assert_array_equal(kde.surprise(query)[-7:], kde.surprise(query[-7:]))


def test_density_integrates_to_one() -> None:
    kde = some_kde(points=5, size=1, bandwidth=0.5)
    grid = np.linspace(-12, 12, 20001)[:, None]
    assert np.exp(-kde.surprise(grid)).sum() * (grid[1, 0] - grid[0, 0]) == pytest.approx(1.0, abs=1e-9)


def test_logsumexp_of_nothing_is_minus_infinity() -> None:
    assert logsumexp(np.full((1, 3), -np.inf))[0] == -np.inf


def test_drives_weigh_the_same_whatever_their_length() -> None:
    drives = np.array([0] * 10 + [1] * 2 + [5] * 3)
    weights = drive_weights(drives)
    assert [weights[drives == d].sum() for d in (0, 1, 5)] == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize("rows", [200, 20], ids=["covariance", "thin-svd"])
def test_projection_whitens_and_leaves_a_residual(rows: int) -> None:
    features = RANDOM.normal(size=(rows, 50)) * np.linspace(3, 0.1, 50) + 5.0
    projection = fit_projection(features, np.full(rows, 1 / rows), 8)
    latent = projection.latent(features)
    np.testing.assert_allclose(latent.mean(0), 0.0, atol=1e-9)
    np.testing.assert_allclose(latent.T @ latent / rows, np.eye(8), atol=1e-6)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    rebuilt = projection.mean + latent * projection.scale @ projection.basis.T
    np.testing.assert_allclose(
        projection.residual(features), np.linalg.norm(unit - rebuilt, axis=1), atol=1e-9
    )


def test_projection_leaves_out_directions_without_variance() -> None:
    features = np.zeros((30, 10))
    features[:, 0], features[:, 1] = 1.0, RANDOM.normal(size=30)
    assert fit_projection(features, np.full(30, 1 / 30), 8).basis.shape[1] <= 2


def test_within_precision_sees_wander_not_identity() -> None:
    drives = np.repeat(np.arange(4), 50)
    latent = RANDOM.normal(size=(200, 3)) * [1.0, 0.1, 2.0] + 100.0 * drives[:, None]
    variances = 1.0 / np.diag(within_precision(latent, drives, shrinkage=0.0))
    assert variances == pytest.approx([1.0, 0.01, 4.0], rel=0.4)


def some_mixture(components: int, size: int) -> Mixture:
    factors = RANDOM.normal(size=(components, size, size)) * 0.3 + np.eye(size)
    weights = RANDOM.random(components)
    return Mixture(RANDOM.normal(size=(components, size)), factors, np.log(weights / weights.sum()))


@pytest.mark.parametrize("distance", [0.0, 30.0, 1000.0])
def test_a_mixture_equals_its_formula(distance: float) -> None:
    mixture = some_mixture(3, 4)
    query = RANDOM.normal(size=(5, 4)) + distance
    terms = np.stack([
        w + 0.5 * np.log(np.linalg.det(f @ f.T)) - 2 * np.log(2 * np.pi)
        - 0.5 * np.einsum("nd,de,ne->n", query - m, f @ f.T, query - m)
        for m, f, w in zip(mixture.means, mixture.factors, mixture.log_weights, strict=True)
    ])  # fmt: skip
    np.testing.assert_allclose(mixture.surprise(query), -np.logaddexp.reduce(terms, axis=0), rtol=1e-10)


def test_a_tilt_is_the_discriminant_of_two_gaussians() -> None:
    """What a tilt adds to a ratio is LDA's log ratio: with it alone the ratio of the two Gaussians comes out."""
    a, b = some_mixture(1, 4), some_mixture(1, 4)
    b = replace(b, factors=a.factors)
    precision = a.factors[0] @ a.factors[0].T
    direction = precision @ (b.means[0] - a.means[0])
    offset = -0.5 * float((b.means[0] + a.means[0]) @ direction)
    query = RANDOM.normal(size=(6, 4)) * 5.0
    np.testing.assert_allclose(
        Tilted(a, 1.0, direction, offset).surprise(query), b.surprise(query), rtol=1e-9, atol=1e-9
    )


def test_a_tilted_density_survives_the_disk() -> None:
    for plain in (some_kde(20, 4), some_mixture(2, 4)):
        tilted = Tilted(plain, 0.5, RANDOM.normal(size=4), -2.0)
        back = unpack_density("background", pack_density("background", tilted))
        query = RANDOM.normal(size=(5, 4))
        assert isinstance(back, Tilted)
        np.testing.assert_array_equal(back.surprise(query), tilted.surprise(query))


def some_density(size: int, points: int) -> Density:
    features = 12
    basis, _ = np.linalg.qr(RANDOM.normal(size=(features, size)))
    projection = Projection(RANDOM.normal(size=features) * 0.1, basis, np.linspace(0.3, 0.01, size))
    early = Projection(RANDOM.normal(size=5) * 0.1, np.eye(5)[:, :3], np.array([0.5, 0.3, 0.2]))
    return Density(
        np.eye(1),
        projection,
        some_kde(points, size),
        some_kde(points, size, 1.5),
        early,
        some_kde(points, 3),
        np.eye(size),
    )


def identity_encoder(*more: str, cells: tuple[int, ...] = ()) -> onnx.ModelProto:
    """late and early (and ``more``) go in as they come out: the graph's tail alone."""
    shapes = {"late": [12, *cells], "early": [5], "reconstruction": [], "heat": [3, 4]}
    names = ("late", "early", *more)
    inputs = [helper.make_tensor_value_info(f"{n}_in", TensorProto.FLOAT, ["N", *shapes[n]]) for n in names]
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", *shapes[n]]) for n in names]
    nodes = [helper.make_node("Identity", [f"{n}_in"], [n]) for n in names]
    graph = helper.make_graph(nodes, "identity", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def check_graph(encoder: onnx.ModelProto, density: Density, features: Features) -> Scores:
    """Every output of the fused graph equals the reference, which is returned."""
    session = onnxruntime.InferenceSession(fuse(encoder, density).SerializeToString())
    feeds = {f"{n}_in": getattr(features, n) for n in FEATURES if getattr(features, n) is not None}
    reference = reference_scores(density, features)
    for name, values in zip(OUTPUTS, session.run(list(OUTPUTS), feeds), strict=True):
        wanted = getattr(reference, name)
        assert values.shape == wanted.shape, name
        assert np.isfinite(values).all(), name
        assert (np.abs(values - wanted) <= np.maximum(1e-3, 1e-6 * np.abs(wanted))).all(), name
    return reference


def floats(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("size", [4, 10])
@pytest.mark.parametrize("support_scale", [1.0, 30.0, 1000.0], ids=["near", "to -1e3", "to -1e6"])
def test_fused_graph_equals_the_reference(size: int, support_scale: float) -> None:
    density, kde = some_density(size, 300), some_kde(300, size)
    # Moving the support away from the latents, which live near the origin, sets how improbable they are.
    normal = Kde(kde.support + support_scale, kde.log_weights, kde.bandwidth)
    late, early = floats(64, 12), floats(64, 5)
    late[0], early[0] = 0.0, 0.0  # a dead network must not give NaN
    reference = check_graph(identity_encoder(), replace(density, normal=normal), Features(late, early))
    assert (reference.heat == 0).all()
    if support_scale > 1:
        assert reference.surprise.max() > support_scale**2


@pytest.mark.parametrize(
    "normal",
    [
        some_mixture(1, 4),
        some_mixture(5, 4),
        Direct(),
        Tilted(some_kde(30, 4), 0.5, RANDOM.normal(size=4), 3.0),
    ],
    ids=["one", "five", "direct", "tilted"],
)
@pytest.mark.parametrize("unit", [True, False], ids=["unit", "length kept"])
def test_other_densities_equal_the_reference(normal: LatentDensity, unit: bool) -> None:
    density = some_density(4, 50)
    density = replace(density, normal=normal, projection=replace(density.projection, unit=unit))
    check_graph(identity_encoder(), density, Features(floats(16, 12), floats(16, 5)))


def test_heat_is_the_surprise_of_each_cell() -> None:
    density = some_density(4, 50)
    cells = Cells(density.projection, some_kde(40, 4))
    density = replace(density, pooling=np.full((6, 1), 1 / 6), cells=cells)
    late = floats(5, 12, 2, 3)
    reference = check_graph(identity_encoder(cells=(2, 3)), density, Features(late, floats(5, 5)))
    alone = cells.density.surprise(cells.projection.latent(late[3, :, 1, 2][None].astype(np.float64)))
    assert reference.heat[3, 1, 2] == pytest.approx(alone[0])


def test_a_decoders_error_and_heat_are_scores_as_they_are() -> None:
    features = Features(floats(7, 12), floats(7, 5), floats(7), floats(7, 3, 4))
    reference = check_graph(identity_encoder("reconstruction", "heat"), some_density(4, 50), features)
    np.testing.assert_array_equal(reference.heat, features.heat)
    np.testing.assert_array_equal(reference.reconstruction, features.reconstruction)


def test_whitening_of_steady_footage_keeps_its_precision() -> None:
    """Frames that hardly differ are stretched ten thousandfold: in float32 their scores were wrong by 1e-2 nat."""
    rng = np.random.default_rng(3)
    mean = rng.normal(size=12)
    mean /= np.linalg.norm(mean)
    basis = np.linalg.qr(rng.normal(size=(12, 8)))[0]
    projection = Projection(mean, basis, np.full(8, 1e-4))
    kde = some_kde(300, 8, 0.5)
    density = Density(np.eye(1), projection, kde, None, None, None, np.eye(8))
    latent = kde.support[:64] + rng.normal(size=(64, 8)) * np.geomspace(0.1, 30.0, 64)[:, None]
    late = (mean + (latent * projection.scale) @ basis.T).astype(np.float32)
    wanted = reference_scores(density, Features(late)).surprise
    limit = np.maximum(1e-3, 1e-6 * np.abs(wanted))

    def difference(precision: type[np.floating]) -> np.ndarray:
        graph = fuse(identity_encoder(), density, precision).SerializeToString()
        (got,) = onnxruntime.InferenceSession(graph).run(
            ["surprise"], {"late_in": late, "early_in": late[:, :5]}
        )
        return np.abs(got - wanted)

    assert (difference(np.float64) <= 0.1 * limit).all()
    assert (difference(np.float32) > limit).any()
