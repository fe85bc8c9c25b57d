"""What each measure has to do: follow a degradation, stand still for what does not matter, and say why it cannot."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import deltaE_ciede2000, rgb2lab

from comfy_nodes.evidence import degradations as by
from comfy_nodes.evidence.pictures import drawn, photograph
from comfy_nodes.measures import Broken, Unscorable
from comfy_nodes.measures.artifacts import artifacts
from comfy_nodes.measures.background_consistency import background_consistency
from comfy_nodes.measures.brand_color import brand_color
from comfy_nodes.measures.color import difference, parse_colors, to_lab
from comfy_nodes.measures.composition import composition
from comfy_nodes.measures.garment_accuracy import cut_out, garment_accuracy
from comfy_nodes.measures.picture import Picture, luma, prepare, resize, shrink
from comfy_nodes.measures.reference_similarity import reference_similarity
from comfy_nodes.measures.sharpness import sharpness

SIDE = 256
PICTURES = [photograph("astronaut.png", SIDE), photograph("coffee.png", SIDE), drawn(1, SIDE)]
SUBJECT = np.zeros((SIDE, SIDE), np.float32)
SUBJECT[80:180, 90:170] = 1
LITTLE = 0.02  # by which a value may rise where one degradation hides another


def to_itself(measure: Callable[..., float]) -> Callable[[Picture, Picture], float]:
    return lambda picture, _: measure(picture)


FOLLOWS = [
    (sharpness, by.gaussian_blur, (0, 1, 2, 4)),
    (sharpness, by.motion_blur, (0, 5, 13, 31)),
    (artifacts, by.jpeg, (0, 60, 80, 92)),
    (artifacts, by.noise, (0, 0.03, 0.06, 0.12)),
    (artifacts, by.banding, (0, 8, 16, 32)),
    (artifacts, by.impulses, (0, 0.003, 0.01, 0.04)),
    (artifacts, by.checkerboard, (0, 0.01, 0.03, 0.08)),
    (reference_similarity, by.gaussian_blur, (0, 1, 2, 4)),
    (reference_similarity, by.color_shift, (0, 0.1, 0.2, 0.4)),
    (reference_similarity, by.displacement, (0, 1, 3, 9)),
    (background_consistency, by.color_shift, (0, 0.1, 0.2, 0.4)),
    (background_consistency, by.gaussian_blur, (0, 1, 2, 4)),
    (garment_accuracy, by.color_shift, (0, 0.1, 0.2, 0.4)),
    (garment_accuracy, by.gaussian_blur, (0, 2, 4)),
]


def value(measure: Callable[..., object], picture: Picture, original: Picture) -> float:
    further = {reference_similarity: (original,), background_consistency: (original, SUBJECT)}
    if measure is garment_accuracy:
        return garment_accuracy(cut_out(picture, None, "mask"), cut_out(original, None, "reference_mask")).value
    return measure(picture, *further.get(measure, ())).value  # type: ignore[attr-defined]


@pytest.mark.parametrize(("measure", "degrade", "strengths"), FOLLOWS)
def test_a_measure_follows_what_gets_worse(measure: Callable, degrade: Callable, strengths: tuple[float, ...]) -> None:
    for picture in PICTURES:
        values = [value(measure, degrade(picture, strength), picture) for strength in strengths]
        assert all(after <= before + LITTLE for before, after in pairwise(values)), values
        assert values[-1] < values[0] - 0.15, values


@pytest.mark.parametrize("picture", PICTURES)
def test_originals_are_good(picture: Picture) -> None:
    assert sharpness(picture).value > 0.8
    assert artifacts(picture).value > 0.8
    assert reference_similarity(picture, picture).value > 0.9
    assert background_consistency(picture, picture, SUBJECT).value > 0.9


def test_a_smooth_sky_is_not_blurred() -> None:
    half_sky = photograph("camera.png", SIDE).copy()
    half_sky[: SIDE // 2] = np.linspace(0.6, 0.7, SIDE, dtype=np.float32)[None, :, None]
    assert sharpness(half_sky).value == pytest.approx(sharpness(photograph("camera.png", SIDE)).value, abs=0.1)


def test_sharpness_does_not_depend_on_contrast() -> None:
    picture = by.gaussian_blur(photograph("astronaut.png", SIDE), 1.5)
    assert sharpness(0.25 + picture / 2).raw == pytest.approx(sharpness(picture).raw, rel=0.1)


def test_sharpness_is_that_of_the_subject() -> None:
    picture = photograph("astronaut.png", SIDE)
    blurred_behind = np.where(SUBJECT[..., None] > 0, picture, by.gaussian_blur(picture, 4))
    blurred_before = np.where(SUBJECT[..., None] > 0, by.gaussian_blur(picture, 4), picture)
    inner = np.zeros_like(SUBJECT)
    inner[96:164, 106:154] = 1
    assert sharpness(blurred_behind, inner).value > sharpness(blurred_before, inner).value + 0.5


def test_colours_agree_with_another_implementation() -> None:
    drawn_colors = np.random.default_rng(0).random((2, 2000, 3)).astype(np.float32)
    one, other = (to_lab(colors) for colors in drawn_colors)
    assert one == pytest.approx(rgb2lab(drawn_colors[0]), abs=0.02)
    expected = deltaE_ciede2000(rgb2lab(drawn_colors[0]), rgb2lab(drawn_colors[1]))
    assert difference(one, other) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [  # from table 1 of Sharma, Wu and Dalal
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, -1, 2), (50, 0, 0), 2.3669),
        ((50, 2.5, 0), (61, -5, 29), 22.8977),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_ciede2000_is_as_published(one: tuple, other: tuple, expected: float) -> None:
    assert difference(np.array(one), np.array(other)) == pytest.approx(expected, abs=1e-4)


def test_brand_colour_is_the_distance_that_it_drifted() -> None:
    picture = 0.35 + 0.3 * luma(photograph("coffee.png", SIDE))[..., None] * np.ones(3, np.float32)
    picture[40:100, 40:100] = parse_colors("#FF5A00")[0]
    assert brand_color(picture, "#FF5A00", 0.03).raw == pytest.approx(0, abs=0.3)
    drifted = [by.color_shift(picture, -strength) for strength in (0, 0.05, 0.1, 0.2)]
    values = [brand_color(image, "#FF5A00", 0.03).value for image in drifted]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.5
    assert brand_color(picture, "#FF5A00, #00a0ff", 0.03).raw == pytest.approx(
        brand_color(picture, "#00a0ff", 0.03).raw, abs=1e-6
    )


@pytest.mark.parametrize("text", ["", "red", "#12345", "#FF5A00 and more"])
def test_what_is_no_colour_is_named(text: str) -> None:
    with pytest.raises(Unscorable, match="#RRGGBB"):
        parse_colors(text)


def test_a_halo_is_seen() -> None:
    picture = photograph("astronaut.png", SIDE)
    haloed = picture.copy()
    haloed[79:181, 89:171] = 1.0
    haloed[80:180, 90:170] = picture[80:180, 90:170]
    clean = background_consistency(picture, picture, SUBJECT)
    assert background_consistency(haloed, picture, SUBJECT).value < clean.value - 0.05


def test_the_subject_may_change() -> None:
    picture = photograph("astronaut.png", SIDE)
    changed = np.where(SUBJECT[..., None] > 0, 1 - picture, picture)
    assert background_consistency(changed, picture, SUBJECT).value > 0.9


def test_composition_wants_a_whole_subject() -> None:
    y, x = np.indices((SIDE, SIDE))

    def disc_at(column: float) -> Picture:
        inside = (x - column * SIDE) ** 2 + (y - SIDE / 2) ** 2 < (SIDE / 7) ** 2
        return np.where(inside[..., None], [0.9, 0.4, 0.1], 0.2 + 0.2 * y[..., None] / SIDE).astype(np.float32)

    values = [composition(disc_at(column)).value for column in (0.5, 0.8, 0.9, 1.0)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.6
    assert values[-1] < 0.3
    empty = composition(np.full((SIDE, SIDE, 3), 0.5, np.float32))
    assert (empty.value, empty.reason) == (0, "the frame is empty: nothing stands out")


WITHOUT_REFERENCE = (sharpness, artifacts, composition)


@pytest.mark.parametrize("measure", WITHOUT_REFERENCE)
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_blank_image_is_worth_nothing_and_says_why(measure: Callable, level: float) -> None:
    found = measure(np.full((64, 64, 3), level, np.float32))
    assert found.value == 0
    assert found.reason


@pytest.mark.parametrize("measure", WITHOUT_REFERENCE)
def test_a_single_pixel_cannot_be_judged(measure: Callable) -> None:
    with pytest.raises(Unscorable, match="1x1 pixels are too few"):
        measure(prepare(np.zeros((1, 1, 3), np.float32)))


@given(st.integers(16, 70), st.integers(16, 70), st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_any_size_has_a_value(height: int, width: int, seed: int) -> None:
    picture = np.random.default_rng(seed).random((height, width, 3)).astype(np.float32)
    mask = np.zeros((height, width), np.float32)
    mask[: height // 2, : width // 2] = 1
    found = [measure(picture) for measure in WITHOUT_REFERENCE]
    found += [sharpness(picture, mask), reference_similarity(picture, picture), brand_color(picture, "#fff", 0.1)]
    found.append(background_consistency(picture, picture, mask))
    assert all(0 <= one.value <= 1 for one in found)


def masks() -> st.SearchStrategy[np.ndarray]:
    """Of nothing, of all, of specks, of stripes, grey ones, and of sizes of their own."""
    shapes = st.tuples(st.sampled_from([1, 16, 64, 300]), st.sampled_from([1, 17, 64, 300]))
    made: list[Callable[[tuple[int, int]], np.ndarray]] = [
        np.zeros,
        np.ones,
        lambda shape: np.full(shape, 0.5),
        lambda shape: (np.arange(shape[1]) % 7 == 0) * np.ones(shape),
        lambda shape: (np.random.default_rng(0).random(shape) > 0.98).astype(float),
    ]
    return st.builds(lambda make, shape: make(shape).astype(np.float32), st.sampled_from(made), shapes)


@given(masks(), st.sampled_from([1, 16, 64, 300]), st.sampled_from([16, 64, 1500]), st.sampled_from(["noise", "plain"]))
@settings(max_examples=60, deadline=None)
def test_any_mask_on_any_picture_gives_a_score_or_says_why_not(
    mask: np.ndarray, height: int, width: int, kind: str
) -> None:
    noise = np.random.default_rng(1).random((height, width, 3)).astype(np.float32)
    picture = noise if kind == "noise" else np.full_like(noise, 0.3)
    for judge in (
        lambda: sharpness(picture, mask),
        lambda: composition(picture, mask),
        lambda: brand_color(picture, "#fff", 0.1, mask),
        lambda: background_consistency(picture, picture, mask),
        lambda: garment_accuracy(cut_out(picture, mask, "mask"), cut_out(picture, None, "reference_mask")),
    ):
        try:
            assert 0 <= judge().value <= 1
        except Unscorable as why:
            assert len(str(why)) > 20


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (np.zeros((4, 4, 2)), "a mask is height x width, and not 4x4x2"),
        (np.zeros((0, 4)), "a mask is height x width, and not 0x4"),
        (np.full((4, 4), np.nan), "the mask holds NaN"),
        (np.zeros((64, 64)), "the mask covers nothing"),  # what LoadImage gives of a picture without transparency
    ],
)
def test_what_is_wrong_with_a_mask_is_told(mask: np.ndarray, says: str) -> None:
    with pytest.raises(Unscorable, match=says):
        sharpness(PICTURES[0], mask)


def test_a_strip_is_too_narrow_to_judge() -> None:
    strip = np.random.default_rng(0).random((16, 3000, 3)).astype(np.float32)
    for judge in (composition, lambda picture: cut_out(picture, None, "mask")):
        with pytest.raises(Unscorable, match="3000x16 pixels are too narrow"):
            judge(strip)


def test_a_mask_of_another_size_is_that_of_the_picture() -> None:
    picture = PICTURES[0]
    small, large = (resize(SUBJECT, side, side) for side in (SIDE // 2, SIDE * 2))
    assert sharpness(picture, small).value == pytest.approx(sharpness(picture, large).value, abs=0.02)


def test_pictures_come_in_every_form() -> None:
    bytes_ = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    picture = prepare(bytes_)
    assert picture.dtype == np.float32
    assert prepare(bytes_.astype(np.uint16) * 257) == pytest.approx(picture, abs=1e-6)
    grey = prepare(bytes_[..., 0])
    assert grey.shape == (32, 32, 3)
    transparent = np.concatenate([picture, np.zeros((32, 32, 1), np.float32)], axis=2)
    assert (prepare(transparent) == 1).all()
    assert prepare(picture * 3 - 1).min() == 0
    assert prepare(picture.astype(np.float16)).dtype == np.float32


@pytest.mark.parametrize("shape", [(0, 4, 3), (4, 4, 5), (2, 4, 4, 3), (7,)])
def test_what_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(Unscorable, match="an image is height x width"):
        prepare(np.zeros(shape, np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_broken_image_is_named(bad: float) -> None:
    picture = np.zeros((8, 8, 3), np.float32)
    picture[3, 3, 1] = bad
    with pytest.raises(Broken, match="fp32-vae"):
        prepare(picture)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_resizing_keeps_the_mean_and_the_range(h: int, w: int, height: int, width: int) -> None:
    plane = np.random.default_rng(h * 41 + w).random((h, w)).astype(np.float32)
    resized = resize(plane, height, width)
    assert resized.shape == (height, width)
    assert resized.min() >= plane.min() - 1e-5
    assert resized.max() <= plane.max() + 1e-5
    if height <= h and width <= w:
        assert resized.mean() == pytest.approx(plane.mean(), abs=1e-4)


def test_shrinking_averages() -> None:
    plane = np.arange(6, dtype=np.float32)[None].repeat(6, axis=0)
    averages = pytest.approx([(0 + 0.5) / 1.5, (0.5 + 2) / 1.5, (3 + 2) / 1.5, (2 + 5) / 1.5])
    assert shrink(plane, 4)[0] == averages
    assert shrink(plane.T, 4)[:, 0] == averages
