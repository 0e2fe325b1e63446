from __future__ import annotations

from pathlib import Path

import pytest

from geozoom.errors import RecipeError
from training.recipe_files import RECIPES, load_recipe


@pytest.mark.parametrize("file", sorted(RECIPES.glob("*.toml")), ids=lambda file: file.stem)
def test_shipped_recipes_load_by_name_and_by_file(file: Path) -> None:
    assert load_recipe(file.stem, []) == load_recipe(str(file), [])


def test_the_papers_recipe_uses_the_papers_estimator_and_reward() -> None:
    recipe = load_recipe("paper", [])
    assert recipe.robust.epochs == 0
    for stage, penalty in ((recipe.pt, 0.5), (recipe.ft1, 20), (recipe.ft2, 20)):
        assert (stage.estimator, stage.reward, stage.penalty) == ("self_critical", "paper", penalty)
        assert (stage.policy_learning_rate, stage.alpha) == (1e-4, (0.7, 0.95))
    assert recipe.pt.batch_size == 1024


def test_our_recipe_uses_rloo_and_the_mask_robust_start() -> None:
    recipe = load_recipe("default", [])
    assert recipe.robust.epochs > 0
    assert {recipe.pt.estimator, recipe.ft1.estimator, recipe.ft2.estimator} == {"rloo"}


def test_a_recipe_takes_what_it_does_not_say_from_its_base(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('base = "default"\n[ft2]\nprice = 0.75\n')
    mine, default = load_recipe(str(file), []), load_recipe("default", [])
    assert mine.ft2.price == 0.75
    assert mine.ft2.epochs == default.ft2.epochs
    assert mine.hr == default.hr


def test_values_can_be_set_and_epochs_shortened_everywhere_but_in_what_is_left_out() -> None:
    recipe = load_recipe("paper", ["ft2.price=0.3", "networks.classifier=resnet18", "data.lr_px=28"], 2)
    assert (recipe.ft2.price, recipe.networks.classifier, recipe.data.lr_px) == (0.3, "resnet18", 28)
    assert (recipe.hr.epochs, recipe.ft2.epochs, recipe.robust.epochs) == (2, 2, 0)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("hr.epoch=3", "'epoch' is not known"),
        ("hr.epochs=soon", "must be of type int"),
        ("hr.epochs", "table.key=value"),
        ("hr.epochs.more=1", "is a value, not a table"),
        ("hr=3", "must be a table"),
        ("hr.epochs=0", r"hr\.epochs is impossible: it must be at least 1"),
        ("hr.batch_size=1", "at least 2"),
        ("networks.classifier_widths=[0, 8, 8]", "hold positive numbers of channels"),
        ("networks.policy_widths=[-4, 8, 8]", r"networks\.policy_widths is impossible"),
        ("networks.classifier=resnet43", r"networks\.classifier is impossible: it must be one of resnet8, "),
        ("networks.policy=resnet", r"networks\.policy is impossible: it must be one of resnet8, "),
        ("networks.policy_widths=[8, 8]", "hold 3 numbers, as resnet8 has groups"),
        ("lr.cutmix=1.0", "be left out: only hr goes by it"),
        ("robust.small_px=16", "be left out: only hr goes by it"),
        ("lr.small_share=1.0", "be left out: only hr goes by it"),
        ("hr.keep_min=0.9", "be left out: only robust goes by it"),
        ("pt.classifier_masks=likely", "be left out: only ft1 and ft2 go by it"),
        ("pt.classifier_learning_rate=9.0", "be left out: only ft1 and ft2 go by it"),
        ("hr.schedule=step", "be cosine or constant"),
        ("hr.optimizer=lion", "be sgd, adam or adamw"),
        ("hr.learning_rate=-1", "be positive"),
        ("hr.learning_rate=nan", "be positive"),
        ("robust.keep_min=3", r"lie in 0\.\.1"),
        ("robust.distill=1.5", r"lie in 0\.\.1"),
        ("hr.distill=0.5", "be 0: robust, ft1 and ft2 learn from the HR-CNN"),
        ("pt.estimator=reinforce", "be one of self_critical, rloo, disarm, straight_through"),
        ("pt.samples=1", "be at least 2"),
        ("pt.start=hr", "be fresh or lr"),
        ("ft2.together=product", "be mixture or fusion"),
        ("ft1.together=fusion", "be mixture: the HR stream answers alone"),
        ("ft1.classifier_masks=doubted", "be sampled or likely: the LR stream is asked in ft2 alone"),
        ("ft2.classifier_masks=random", "be sampled, likely or doubted"),
        ("ft1.start=lr", "be fresh: it begins as pt left the policy"),
        ("augmentation.crop=zoom", "be area or shift"),
        ("augmentation.pad_px=-1", r"lie in 0\.\.hr_px"),
        ("ft2.least_patches=-1", r"lie in 0\.\.16"),
        ("ft2.least_patches=16", r"lie in 0\.\.16"),
        ("ft2.least_patches=nan", r"lie in 0\.\.16"),
        ("ft2.reward=free", "be priced, priced_hits or paper"),
        ("pt.alpha=[0.7]", "must hold 2 values, not 1"),
        ("pt.alpha=[2, 3]", "two temperatures"),
        ("networks.lr_temperature=0", "be positive"),
        ("networks.fusion=sum", "be mixture or product"),
        ("ft1.min_area=0", r"lie in \(0, 1\]"),
        ("data.hr_px=145", "multiple of the 4 × 4 patches"),
        ("data.grid_rows=0", "at least 1"),
        ("data.lr_px=0", r"1\.\.hr_px"),
        ("data.val_share=1", "between 0 and 1"),
        ("data.margin=0", r"lie in 1\.\.4"),
        ("card.scene_m=-5", "be positive"),
        ("pt.alpha=0.5", "must be a list"),
        ("data.patch_prices=[[1, 2]]", "hold 4 rows of 4 prices"),
        ("data.patch_prices=[[1,1,1,1],[1,1,1,1],[1,1,1,1],[1,1,1,-1]]", "prices of zero or more"),
        ("precision=fp8", "be bf16 or fp32"),
    ],
)
def test_an_impossible_value_is_refused_by_name(override: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        load_recipe("default", [override])


@pytest.mark.parametrize("free", ["ft2.reward=paper", "ft2.price=0"])
def test_least_patches_lower_a_price_and_are_refused_where_there_is_none(free: str) -> None:
    assert load_recipe("default", ["ft2.least_patches=1.5"]).ft2.least_patches == 1.5
    with pytest.raises(RecipeError, match=r"ft2\.least_patches .*come with a priced reward and a price"):
        load_recipe("default", ["ft2.least_patches=1.5", free])


def test_estimators_are_chosen_by_key_and_refused_where_they_cannot_work() -> None:
    for name in ("self_critical", "rloo", "disarm"):
        assert load_recipe("default", [f"ft2.estimator={name}"]).ft2.estimator == name
    assert load_recipe("default", ["pt.samples=4"]).pt.samples == 4
    through = ["judges.folds=0", "pt.estimator=straight_through"]
    assert load_recipe("default", through).pt.estimator == "straight_through"
    for overrides, words in (
        (through[1:], "judges give no derivative"),
        ([*through, "pt.reward=priced_hits"], "be priced: straight_through derives it by the mask"),
        (["pt.estimator=disarm", "pt.samples=4"], "rloo alone takes another number"),
    ):
        with pytest.raises(RecipeError, match=words):
            load_recipe("default", overrides)


def test_a_missing_or_broken_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"name one of .*default.*paper"):
        load_recipe("papre", [])
    (tmp_path / "bad.toml").write_text("hr = {")
    with pytest.raises(RecipeError, match="not valid TOML"):
        load_recipe(str(tmp_path / "bad.toml"), [])
    for base in ('"looped.toml"', "5"):
        looped = tmp_path / "looped.toml"
        looped.write_text(f"base = {base}".replace("looped.toml", str(looped)))
        with pytest.raises(RecipeError, match="must name another recipe"):
            load_recipe(str(looped), [])
    with pytest.raises(RecipeError, match="must be a table"):
        load_recipe("default", ["hr=3"], 1)
    (tmp_path / "half.toml").write_text("[hr]\nepochs = 1\n")
    with pytest.raises(RecipeError, match="missing"):
        load_recipe(str(tmp_path / "half.toml"), [])
