from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geozoom.errors import RecipeError, RunError
from geozoom.networks import NetworkSpec, ResNet
from tests.conftest import small_model
from tests.test_train import QUIET, request, small_recipe, without_time
from training.baselines.coupling import CoupledConv2d, couple
from training.baselines.kd import KdStage, Student, distillation_loss
from training.baselines.lowres import LOWRES
from training.baselines.pcn import DomainNetwork, Pcn, PcnStage, SrStage
from training.baselines.reading import Reader, ReaderStage, lr_correct
from training.baselines.recipe import GeneratorRecipe, KdRecipe, PcnRecipe, SrRecipe
from training.baselines.srgan import GanStage, PixelStage, SrClassifierStage, Srgan, content_loss, psnr
from training.baselines.super_resolution import Discriminator, Generator
from training.checkpoints import Position
from training.datasets import Batch, HeldSplit, Split
from training.engine import Engine
from training.evaluate import view_split
from training.recipe import Recipe
from training.recipe_files import load_recipe, recipe_from
from training.record import check_recipe
from training.stages import Bench, HrStage
from training.views import Augmentation

FITTING = ("epochs=12", "learning_rate=0.1")
SHORT = (
    *(f"baselines.{name}.learning_rate=0.1" for name in ("kd", "srgan", "pcn")),
    *(f"baselines.srgan.{size}=8" for size in ("width", "discriminator_width")),
    *(
        "baselines.srgan.blocks=1",
        "baselines.srgan.pixels.learning_rate=3e-3",
        "baselines.pcn.sr_widths=[8, 6]",
    ),
)


def engine_in(folder: Path, recipe: Recipe) -> Engine:
    folder.mkdir(parents=True, exist_ok=True)
    return Engine(
        folder=folder, device=torch.device("cpu"), precision=recipe.precision, seed=0, console=QUIET
    )


def parameters(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def accuracy(reader: Reader, bench: Bench) -> float:
    return lr_correct(reader, bench.val).float().mean().item()


def log(engine: Engine, stage: str) -> list[dict[str, Any]]:
    return [row for row in engine.log.rows() if row["stage"] == stage]


def scenes(count: int, seed: int) -> HeldSplit:
    """Scenes of 32 px with sharp edges, whose colour is their class."""
    rng = np.random.default_rng(seed)
    labels = torch.arange(count) % 3
    images = np.empty((count, 3, 32, 32))
    for image, label in zip(images, labels.tolist(), strict=True):
        image[:] = np.array([(170, 140, 100), (130, 130, 135), (30, 60, 110)][label]).reshape(3, 1, 1)
        for top, left in rng.integers(0, 26, (3, 2)):
            image[:, top : top + 10, left : left + 10] += rng.choice([-60, 60])
    pixels = torch.from_numpy(images.clip(0, 255).astype(np.uint8))
    return HeldSplit(images=pixels, labels=labels, files=tuple(map(str, range(count))))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, Split]:
    """A bench whose HR-CNN knows its three classes, and the training split."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = small_recipe("default", 12, "hr.cutmix=0.0", "augmentation.jitter=0.0", *SHORT)
    model = small_model(classifier=NetworkSpec(name="resnet8", widths=(4, 8, 8)))
    split = scenes(48, seed=0)
    bench = Bench(model=model, recipe=recipe, val=view_split(scenes(24, seed=1), recipe, seed=1))
    engine_in(folder, recipe).fit(HrStage(bench), model, split)
    return replace(bench, teacher=copy.deepcopy(model.hr).eval().requires_grad_(False)), split


def with_baseline(bench: Bench, **tables: Any) -> Bench:
    """Return a bench whose recipe has other tables of some baselines."""
    return replace(bench, recipe=replace(bench.recipe, baselines=replace(bench.recipe.baselines, **tables)))


def shortened(bench: Bench, epochs: int) -> Bench:
    """Return a bench whose baselines take so many epochs in every stage."""
    baselines, generator = bench.recipe.baselines, GeneratorRecipe(epochs=epochs)
    return with_baseline(
        bench,
        kd=replace(baselines.kd, epochs=epochs),
        srgan=replace(baselines.srgan, epochs=epochs, pixels=generator, gan=generator),
        pcn=replace(baselines.pcn, epochs=epochs, sr=SrRecipe(epochs=epochs)),
    )


@pytest.mark.parametrize("name", sorted(LOWRES))
def test_a_baseline_learns_to_tell_scenes_apart_by_lr_alone(
    trained: tuple[Bench, Split], tmp_path: Path, name: str
) -> None:
    bench, split = trained
    before = copy.deepcopy(bench.model.state_dict())
    # A teacher that knows nothing, where they all start, so that they have to learn by themselves.
    bench = replace(
        bench, teacher=small_model(seed=3, classifier=bench.model.card.classifier).hr.requires_grad_(False)
    )
    engine = engine_in(tmp_path, bench.recipe)
    network = LOWRES[name](engine, bench, split)
    rows = log(engine, name)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert not network.training
    logits = network.lr_logits(bench.val.lr)
    assert logits.shape == (24, 3)
    assert logits.dtype == torch.float32
    assert accuracy(network, bench) >= 0.75  # of three classes
    assert all(torch.equal(tensor, before[key]) for key, tensor in bench.model.state_dict().items())
    again = LOWRES[name](engine, bench, split)
    assert log(engine, name) == rows
    torch.testing.assert_close(again.lr_logits(bench.val.lr), logits, rtol=0, atol=0)


def test_a_student_that_starts_with_nothing_learns_from_its_teacher_alone(
    trained: tuple[Bench, Split], tmp_path: Path
) -> None:
    bench, split = trained
    bench = with_baseline(bench, kd=KdRecipe(epochs=16, weight=1.0, learning_rate=0.1))
    torch.manual_seed(0)
    student = Student(bench.model.card)
    assert accuracy(student, bench) <= 0.5
    assert bench.teacher is not None
    engine = engine_in(tmp_path, bench.recipe)
    engine.fit(KdStage(bench, student, bench.teacher), student, split)
    assert accuracy(student, bench) >= 0.75
    with pytest.raises(ValueError, match="needs a teacher"):
        LOWRES["kd"](engine, replace(bench, teacher=None), split)


def test_the_distillation_loss_is_the_formulas() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (3 * torch.randn(5, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    labels = torch.tensor([0, 3, 1, 1, 2])
    temperature, weight = 4.0, 0.3
    expected = 0.0
    for z, v, y in zip(student.tolist(), teacher.tolist(), labels.tolist(), strict=True):
        ours, theirs = (torch.tensor([x / temperature for x in row]).exp() for row in (z, v))
        p, q = theirs / theirs.sum(), ours / ours.sum()
        hard = -torch.log(torch.tensor(z).exp()[y] / torch.tensor(z).exp().sum())
        expected += ((1 - weight) * hard + weight * temperature**2 * (p * (p / q).log()).sum()).item() / 5
    found = distillation_loss(student, teacher, labels, temperature, weight)
    assert found.item() == pytest.approx(expected, rel=1e-5)
    assert distillation_loss(student, student, labels, 10.0, 1.0).item() == pytest.approx(0, abs=1e-12)
    plain = F.cross_entropy(student, labels)
    assert distillation_loss(student, teacher, labels, 10.0, 0.0).item() == pytest.approx(plain.item())


@pytest.mark.parametrize(("lr_px", "hr_px", "factors"), [
    (8, 32, [2, 2]), (12, 144, [2, 2, 3]), (56, 224, [2, 2]), (8, 144, [2, 3, 3]), (10, 36, [2, 2]), (16, 16, []),
])  # fmt: skip
def test_the_generator_draws_at_the_hr_size_and_the_discriminator_reads_it(
    lr_px: int, hr_px: int, factors: list[int]
) -> None:
    generator = Generator(lr_px, hr_px, width=2, blocks=1)
    shuffles = [layer for layer in generator.upsampling if isinstance(layer, nn.PixelShuffle)]
    assert [layer.upscale_factor for layer in shuffles] == factors
    lr = torch.rand(2, 3, lr_px, lr_px)
    drawn = generator(lr)
    assert drawn.shape == (2, 3, hr_px, hr_px)
    smooth = F.interpolate(lr, size=(hr_px, hr_px), mode="bilinear", align_corners=False)
    torch.testing.assert_close(drawn, smooth)  # before it has learned
    drawn.square().mean().backward()
    assert generator.tail.weight.grad is not None
    assert generator.tail.weight.grad.abs().sum() > 0
    assert Discriminator(hr_px, width=2)(drawn).shape == (2,)


def test_the_generators_published_size_is_the_papers() -> None:
    # 64 channels, 16 blocks, factor 4: about 1.5 million (Ledig et al., Fig. 4, layer by layer).
    convolutions = (
        (3 * 81 + 1) * 64 + (2 * 16 + 1) * (64 * 9 + 1) * 64 + 2 * (64 * 9 + 1) * 256 + (64 * 81 + 1) * 3
    )
    norms, slopes = (2 * 16 + 1) * 2 * 64, 1 + 16 + 2
    assert parameters(Generator(24, 96, width=64, blocks=16)) == convolutions + norms + slopes
    assert parameters(Discriminator(96, width=64).verdict) == (512 * 36 + 1) * 1024 + 1025


def test_the_generator_learns_from_pixels_and_then_from_features(
    trained: tuple[Bench, Split], tmp_path: Path
) -> None:
    bench, split = trained
    teacher = bench.teacher
    assert isinstance(teacher, ResNet)
    srgan = bench.recipe.baselines.srgan
    srgan = replace(
        srgan, pixels=replace(srgan.pixels, epochs=24), gan=replace(srgan.gan, learning_rate=1e-3)
    )
    bench = with_baseline(bench, srgan=srgan)
    engine = engine_in(tmp_path, bench.recipe)
    torch.manual_seed(0)
    networks = Srgan(bench.model.card, srgan)
    smooth = psnr(networks.reader.generator, bench)  # of interpolation, which it begins with
    engine.fit(PixelStage(bench, networks.reader), networks, split)
    pixels = log(engine, "srgan-pixels")
    assert pixels[-1]["loss"] < pixels[0]["loss"]
    assert pixels[-1]["val_psnr"] > smooth + 0.1
    stage = GanStage(bench, networks, teacher)
    stage.train_mode()
    batch = next(split.batches(16, torch.Generator().manual_seed(0)))
    game = [stage.step(batch, 0.5, torch.Generator().manual_seed(0)) for _ in range(20)]
    assert game[-1]["content"] < 0.9 * game[0]["content"]
    assert game[-1]["discriminator"] < 0.8 * game[0]["discriminator"]
    assert set(stage.validate()) == {"val_accuracy", "val_psnr"}
    reader = networks.reader
    assert parameters(reader) == parameters(reader.generator) + parameters(reader.classifier)


def test_what_learns_to_draw_sees_no_black_edges(trained: tuple[Bench, Split]) -> None:
    augmentation = Augmentation(crop="shift", pad_px=4, quarter_turns=False, jitter=0.0)
    bench = replace(trained[0], recipe=replace(trained[0].recipe, augmentation=augmentation))
    assert isinstance(bench.teacher, ResNet)
    bright = Batch(
        torch.full((16, 3, 32, 32), 200, dtype=torch.uint8), torch.zeros(16).long(), torch.arange(16)
    )

    def darkest(stage: ReaderStage) -> float:
        hr, _ = stage.bench.views(bright, torch.Generator().manual_seed(0))
        return hr.min().item()

    srgan = Srgan(bench.model.card, bench.recipe.baselines.srgan)
    pcn = Pcn(bench.model.card, bench.recipe.baselines.pcn, bench.teacher)
    drawing = PixelStage(bench, srgan.reader), GanStage(bench, srgan, bench.teacher), SrStage(bench, pcn)
    assert [darkest(stage) for stage in drawing] == pytest.approx([200 / 255] * 3)
    assert [darkest(stage) for stage in (SrClassifierStage(bench, srgan.reader), PcnStage(bench, pcn))] == [
        0,
        0,
    ]


def test_each_side_of_the_game_learns_from_its_own_loss_alone(trained: tuple[Bench, Split]) -> None:
    bench, split = trained
    assert isinstance(bench.teacher, ResNet)
    torch.manual_seed(0)
    srgan = Srgan(bench.model.card, bench.recipe.baselines.srgan)
    stage = GanStage(bench, srgan, bench.teacher)
    stage.train_mode()
    taught: list[set[str]] = []
    step = stage.optimizer.step

    def spy() -> None:
        taught.append(
            {name.split(".")[0] for name, weight in srgan.named_parameters() if weight.grad is not None}
        )
        step()

    stage.optimizer.step = spy  # type: ignore[assignment, method-assign]
    batch = next(split.batches(16, torch.Generator().manual_seed(0)))
    before = copy.deepcopy(srgan.state_dict())
    stage.step(batch, 0.5, torch.Generator().manual_seed(0))
    assert taught == [{"discriminator"}, {"reader"}]
    moved = {
        ".".join(name.split(".")[:2])
        for name, tensor in srgan.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    assert not any(name.startswith("reader.classifier") for name in moved)
    assert "reader.generator" in moved
    assert all(weight.requires_grad for weight in srgan.discriminator.parameters())


def test_the_content_loss_is_nothing_for_the_image_itself_and_one_for_no_features_at_all(
    trained: tuple[Bench, Split],
) -> None:
    teacher = trained[0].teacher
    assert isinstance(teacher, ResNet)
    real, drawn = torch.rand(4, 3, 32, 32), torch.rand(4, 3, 32, 32)
    assert content_loss(teacher, real, real).item() == 0
    wanted, found = teacher.features(real), teacher.features(drawn)
    errors, squares = ((of**2).flatten(1).sum(dim=1) for of in (wanted - found, wanted))
    expected = (errors / squares).mean()
    assert content_loss(teacher, drawn, real).item() == pytest.approx(expected.item(), rel=1e-5)


def test_coupled_networks_share_their_filters_and_nothing_else(trained: tuple[Bench, Split]) -> None:
    bench, _ = trained
    teacher = bench.teacher
    assert teacher is not None
    torch.manual_seed(0)
    pcn = Pcn(bench.model.card, PcnRecipe(coupled=0.25, sr_widths=(8, 6)), teacher)
    images = torch.rand(2, 3, 32, 32)
    # To begin with both are the HR-CNN.
    pcn.eval()
    signed = 2 * images - 1
    torch.testing.assert_close(pcn.lr.srcnn(signed), signed)
    torch.testing.assert_close(pcn.lr.logits(signed), teacher(signed))
    torch.testing.assert_close(pcn.hr.logits(signed), teacher(signed))
    pcn.train()
    sides = [
        [layer for layer in network.modules() if isinstance(layer, CoupledConv2d)]
        for network in (pcn.lr, pcn.hr)
    ]
    convolutions = sum(isinstance(layer, nn.Conv2d) for layer in teacher.modules()) + 3
    assert len(sides[0]) == len(sides[1]) == convolutions
    optimizer = torch.optim.SGD(pcn.parameters(), lr=0.1)
    loss = F.cross_entropy(pcn.hr.logits(images), torch.tensor([0, 2]))
    loss.backward()  # type: ignore[no-untyped-call]
    filters = [layer.filters.detach().clone() for layer in sides[0]]
    own = [layer.own.detach().clone() for layer in sides[1]]
    optimizer.step()
    for lr, hr, lr_before, hr_own in zip(*sides, filters, own, strict=True):
        count = round(0.25 * len(lr.filters))
        assert torch.equal(lr.filters[:count], hr.filters[:count])
        assert torch.equal(
            lr.own, lr_before[count:]
        )  # the other domain's loss does not reach what is its own
        if count:
            assert not torch.equal(lr.filters[:count], lr_before[:count])
        assert not torch.equal(hr.own, hr_own)
    # Biases, batch norms and linear layers are each one's own, and the LR network is whole without the other.
    theirs = {id(weight) for weight in pcn.hr.parameters()}
    assert not theirs & {id(weight) for weight in pcn.lr.parameters()}
    alone = small_model(classifier=bench.model.card.classifier).hr
    assert parameters(pcn.lr) == parameters(alone) + parameters(
        DomainNetwork(bench.model.card, PcnRecipe(sr_widths=(8, 6))).srcnn
    )
    assert parameters(pcn.lr) > parameters(pcn.hr)


@pytest.mark.parametrize("coupled", [0.0, 1.0])
def test_filters_may_be_all_apart_or_all_shared(coupled: float) -> None:
    holder, guest = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1)), nn.Sequential(nn.Conv2d(3, 5, 3, padding=1))
    x = torch.rand(2, 3, 8, 8)
    first, second = holder(x), guest(x)
    bias = guest[0].bias
    assert isinstance(bias, Tensor)
    couple(holder, guest, coupled)
    torch.testing.assert_close(holder(x), first)
    if coupled == 0:
        torch.testing.assert_close(guest(x), second)
    else:
        (shared,) = holder.children()
        assert isinstance(shared, CoupledConv2d)
        torch.testing.assert_close(guest(x), F.conv2d(x, shared.filters, bias, padding=1))
    assert len(list(guest.state_dict())) == 2  # own filters and bias: the shared ones are kept once


@pytest.mark.parametrize(("name", "stage", "killed_at"), [
    ("kd", "kd", (1, 1)),
    ("srgan", "srgan-gan", (1, 2)),
    ("srgan", "srgan", (2, 0)),
    ("pcn", "pcn-sr", (1, 1)),
    ("pcn", "pcn", (1, 2)),
])  # fmt: skip
def test_a_baseline_that_was_killed_goes_on_as_if_nothing_had_happened(
    trained: tuple[Bench, Split],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    stage: str,
    killed_at: tuple[int, int],
) -> None:
    monkeypatch.setattr("training.engine.CHECKPOINT_INTERVAL_S", 0.0)
    (bench, split) = shortened(trained[0], 2), trained[1]
    whole = LOWRES[name](engine_in(tmp_path / "whole", bench.recipe), bench, split)
    keep = Engine._keep

    def kill(self: Engine, kept: Any, model: Any, states: dict[str, torch.Tensor], at: Position) -> None:
        if kept.name == stage and (at.epoch, at.step) == killed_at:
            raise KeyboardInterrupt
        keep(self, kept, model, states, at)

    engine = engine_in(tmp_path / "killed", bench.recipe)
    with monkeypatch.context() as patched:
        patched.setattr(Engine, "_keep", kill)
        with pytest.raises(KeyboardInterrupt):
            LOWRES[name](engine, bench, split)
    assert not engine.is_done(stage)
    resumed = LOWRES[name](engine, bench, split)
    theirs = whole.state_dict()
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in resumed.state_dict().items())
    assert without_time(engine.log.rows()) == without_time(
        engine_in(tmp_path / "whole", bench.recipe).log.rows()
    )


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("baselines.kd.temprature=4", "baselines: kd: key 'temprature' is not known; known keys are .*temperature"),
        ("baselines.gan.width=4", "baselines: key 'gan' is not known; known keys are kd, pcn, srgan"),
        ("baselines=3", "baselines must be a table"),
        ("baselines.kd.temperature=0", r"baselines\.kd\.temperature is impossible: it must be positive"),
        ("baselines.kd.weight=1.5", r"lie in 0\.\.1"),
        ("baselines.kd.epochs=0", "at least 1"),
        ("baselines.kd.batch_size=1", "at least 2"),
        ("baselines.kd.learning_rate=inf", "be positive"),
        ("baselines.srgan.width=0", "at least 1"),
        ("baselines.srgan.gan.epochs=0", r"baselines\.srgan\.gan\.epochs is impossible: it must be at least 1"),
        ("baselines.srgan.pixels.learning_rate=0", "be positive"),
        ("baselines.srgan.adversarial_weight=-1", "be zero or positive"),
        ("baselines.pcn.coupled=1.1", r"lie in 0\.\.1"),
        ("baselines.pcn.sr_widths=[8]", "must hold 2 values, not 1"),
        ("baselines.pcn.sr_widths=[8, 5]", "two widths of at least 6"),
        ("baselines.pcn.huber=0", "be positive"),
    ],
)  # fmt: skip
def test_an_impossible_value_of_a_baseline_is_refused_by_name(override: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words) as refused:
        load_recipe("default", [override])
    assert "\n" not in str(refused.value)


def test_a_baselines_keys_lie_over_those_of_the_base_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text('base = "default"\n[baselines.kd]\ntemperature = 4.0\nepochs = 9\n')
    file = tmp_path / "mine.toml"
    file.write_text(f'base = "{tmp_path / "base.toml"}"\n[baselines.kd]\nweight = 0.25\n')
    kd = load_recipe(str(file), []).baselines.kd
    assert (kd.temperature, kd.weight, kd.epochs) == (4.0, 0.25, 9)
    kd = load_recipe(str(file), ["baselines.kd.temperature=8"], 2).baselines.kd
    assert (kd.temperature, kd.weight, kd.epochs, kd.batch_size) == (8.0, 0.25, 2, None)


def test_memory_that_does_not_suffice_is_answered_with_the_baselines_own_key(
    trained: tuple[Bench, Split], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(PixelStage, "step", step)
    bench, split = trained
    with pytest.raises(RunError, match=r"--set baselines\.srgan\.pixels\.batch_size=8"):
        LOWRES["srgan"](engine_in(tmp_path, bench.recipe), bench, split)


def test_a_stage_keeps_its_own_learning_rate_where_only_its_epochs_are_given() -> None:
    recipe = load_recipe("paper", ["baselines.srgan.pixels.epochs=3", "baselines.pcn.sr.epochs=2"])
    assert recipe.baselines.srgan.pixels == GeneratorRecipe(epochs=3)
    assert recipe.baselines.pcn.sr == SrRecipe(epochs=2)
    shortened = load_recipe("aid", [], 1).baselines
    assert (shortened.srgan.pixels.epochs, shortened.pcn.sr.epochs, shortened.kd.epochs) == (1, 1, None)


def test_a_run_takes_other_values_of_baselines_until_there_are_some(tmp_path: Path) -> None:
    recipe = load_recipe("default", [])
    engine = engine_in(tmp_path, recipe)
    held = {"recipe": json.loads(json.dumps(recipe.to_dict())), "seed": 0}
    later = request(tmp_path, tmp_path, load_recipe("default", ["baselines.kd.temperature=4"]))
    check_recipe(later, engine, held)
    (tmp_path / "baselines").mkdir()
    with pytest.raises(RunError, match="begun with another recipe table 'baselines'"):
        check_recipe(later, engine, held)
    check_recipe(replace(later, recipe=recipe), engine, held)


def test_a_record_of_before_there_were_baselines_is_read_with_their_defaults() -> None:
    recipe = load_recipe("default", [])
    record = json.loads(json.dumps(recipe.to_dict()))
    assert recipe_from(record) == recipe
    del record["baselines"]
    assert recipe_from(record).baselines == type(recipe.baselines)()
