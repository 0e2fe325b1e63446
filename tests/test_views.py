from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from geozoom.sensor import Sensor, sampling_matrix, simulate_lr
from tests.conftest import small_card
from training.baselines.stn import SaliencySampler
from training.stages.hr import cutmix
from training.views import Augmentation, augment


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 12))
def test_whole_ratios_are_area_averages(lr_px: int, ratio: int) -> None:
    hr = torch.rand(2, 3, lr_px * ratio, lr_px * ratio)
    torch.testing.assert_close(
        simulate_lr(hr, lr_px, Sensor()), F.avg_pool2d(hr, ratio), rtol=1e-4, atol=1e-5
    )


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 3))
def test_every_lr_pixel_is_a_weighted_mean(hr_px: int, lr_px: int, fwhm: float) -> None:
    weights = sampling_matrix(max(hr_px, lr_px), min(hr_px, lr_px), fwhm)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(len(weights), dtype=torch.float64))


def test_the_point_spread_function_blurs_across_lr_pixels() -> None:
    hr = torch.zeros(1, 3, 32, 32)
    hr[..., 16:20, 16:20] = 1  # exactly one LR pixel
    sharp, blurred = (simulate_lr(hr, 8, Sensor(psf_fwhm=fwhm)) for fwhm in (0.0, 1.0))
    assert sharp[0, 0, 4, 5] == 0
    assert blurred[0, 0, 4, 5] > 0.05
    assert sharp[0, 0, 4, 4] == 1 > blurred[0, 0, 4, 4]


def test_noise_comes_from_the_generator_alone() -> None:
    sensor = Sensor(gain=0.1, offset=0.05, noise=0.02)
    hr = torch.full((4, 3, 32, 32), 0.5)
    first, again, other = (simulate_lr(hr, 8, sensor, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(simulate_lr(hr, 8, sensor), torch.full((4, 3, 8, 8), 0.5))


def test_pixels_lie_where_they_lie_in_full_precision_under_autocast() -> None:
    images = torch.randint(0, 256, (8, 3, 60, 60), dtype=torch.uint8)
    sensor = Sensor(psf_fwhm=0.8, gain=0.1, offset=0.05, noise=0.02)
    sampler = SaliencySampler(small_card().grid, torch.device("cpu"))

    def made() -> tuple[torch.Tensor, ...]:
        hr = augment(images, 48, Augmentation(), generator())
        saliency = torch.rand(8, 16, generator=generator()).softmax(dim=1)
        return (
            hr,
            simulate_lr(hr, 12, sensor, generator()),
            simulate_lr(hr, 12, sensor),
            sampler.positions(saliency),
        )

    plain = made()
    with torch.autocast("cpu", torch.bfloat16):
        for half, full in zip(made(), plain, strict=True):
            assert half.dtype == torch.float32
            assert torch.equal(half, full)


def test_without_augmentation_a_view_is_the_scene_or_its_mirror_image() -> None:
    images = torch.randint(0, 256, (16, 3, 24, 24), dtype=torch.uint8)
    still = Augmentation(min_area=1, quarter_turns=False, jitter=0)
    views = augment(images, 24, still, generator())
    plain = images.float() / 255
    kept = [torch.allclose(view, scene, atol=1e-4) for view, scene in zip(views, plain, strict=True)]
    mirrored = [
        torch.allclose(view, scene.flip(-1), atol=1e-4) for view, scene in zip(views, plain, strict=True)
    ]
    assert all(a or b for a, b in zip(kept, mirrored, strict=True))
    assert any(kept)
    assert any(mirrored)


def test_quarter_turns_reach_all_eight_symmetries_of_a_square() -> None:
    scene = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8)
    turning = Augmentation(min_area=1, quarter_turns=True, jitter=0)
    views = augment(scene.expand(200, -1, -1, -1), 16, turning, generator())
    plain = scene[0].float() / 255
    symmetries = [
        torch.rot90(image, turns, (-2, -1)) for image in (plain, plain.flip(-1)) for turns in range(4)
    ]
    found = {
        index
        for view in views
        for index, symmetry in enumerate(symmetries)
        if torch.allclose(view, symmetry, atol=1e-4)
    }
    assert found == set(range(8))


@settings(deadline=None)
@given(st.integers(0, 50), st.floats(0.1, 1))
def test_views_stay_in_range_and_have_the_size_asked_for(seed: int, min_area: float) -> None:
    images = torch.randint(0, 256, (3, 3, 20, 20), dtype=torch.uint8)
    views = augment(images, 12, Augmentation(min_area=min_area), generator(seed))
    assert views.shape == (3, 3, 12, 12)
    assert views.min() >= 0
    assert views.max() <= 1


def test_cutmix_reports_the_share_that_each_scene_kept() -> None:
    views = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 3, 16, 16)
    mixed, partner, share = cutmix(views, torch.arange(8), 1.0, generator())
    own = (mixed == torch.arange(8.0).view(8, 1, 1, 1)).float().mean(dim=(1, 2, 3))
    moved = partner != torch.arange(8)
    torch.testing.assert_close(own[moved], share[moved])
    untouched, _, whole = cutmix(views, torch.arange(8), 0.0, generator())
    assert torch.equal(untouched, views)
    assert torch.equal(whole, torch.ones(8))


def test_shifted_crops_are_windows_of_the_padded_scene_by_whole_pixels() -> None:
    scene = torch.randint(1, 256, (1, 3, 8, 8), dtype=torch.uint8)
    augmentation = Augmentation(crop="shift", pad_px=2, quarter_turns=False, jitter=0)
    views = augment(scene.expand(400, -1, -1, -1), 8, augmentation, generator())
    padded = F.pad(scene[0].float() / 255, (2, 2, 2, 2))
    windows = [padded[:, top : top + 8, left : left + 8] for top in range(5) for left in range(5)]
    windows += [window.flip(-1) for window in windows]
    found = set()
    for view in views:
        matches = [index for index, window in enumerate(windows) if torch.allclose(view, window, atol=1e-4)]
        assert len(matches) == 1
        found.update(matches)
    assert found == set(range(50))


def test_shifted_crops_of_larger_scenes_stay_inside() -> None:
    scene = torch.full((64, 3, 10, 10), 255, dtype=torch.uint8)
    views = augment(scene, 8, Augmentation(crop="shift", quarter_turns=False, jitter=0), generator())
    torch.testing.assert_close(views, torch.ones(64, 3, 8, 8), atol=1e-4, rtol=0)
