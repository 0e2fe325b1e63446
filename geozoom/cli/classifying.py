"""What `geozoom classify` does of orders, and of image files."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from geozoom.cli import loading, options
from geozoom.errors import some_of

if TYPE_CHECKING:
    from rich.console import Console

    from geozoom.card import ModelCard
    from geozoom.classifiedscenes import ClassifiedScenes
    from geozoom.money import Buyable
    from geozoom.moneycurve import MoneyCurve
    from geozoom.prices import PriceList
    from geozoom.scores import Labels, Scores

_OF_ORDERS = (
    *("hr", "catalog", "lr", "max_nodata", "max_cloud", "cloud_mask", "assume_crs"),
    *(f"{prefix}{name}" for prefix in ("", "hr_") for name in ("bands", "scale", "offset", "nodata")),
)
_OF_FILES = ("split", "skip_unreadable", "threshold", "seed", "scene_m")


def check(context: click.Context, given: dict[str, Any]) -> None:
    """Refuse options that do not go together.

    Raises:
        click.UsageError: They do not.
    """
    of_orders = bool(given["orders"])
    for name in _OF_FILES if of_orders else _OF_ORDERS:
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            flag = f"--{name.replace('_', '-')}"
            way = "--orders" if of_orders else ("--folder" if given["fmow"] is None else "--fmow")
            raise click.UsageError(f"{flag} does not go with {way}")
    if of_orders and bool(given["hr"]) == (given["catalog"] is not None):
        raise click.UsageError("give the deliveries as --catalog or as --hr, one of them")
    if of_orders and not given["lr"]:
        raise click.UsageError("give the plan's LR tiles as --lr")
    if not given["curves"] and (given["prices"] is not None or given["uplifts"]):
        raise click.UsageError("--prices and --uplift are for --curve")
    if not given["curves"] and context.get_parameter_source("scene_m") is not ParameterSource.DEFAULT:
        raise click.UsageError("--scene-m is for --curve")
    _check_apart(given)


def _check_apart(given: dict[str, Any]) -> None:
    """Refuse outputs of which one would take another's place.

    Raises:
        click.UsageError: There are such.
    """
    files = [path for path in (given["output"], *given["curves"]) if path is not None and str(path) != "-"]
    options.check_apart(files)
    scores = given["scores"]
    for file in files if scores is not None else ():
        if file.resolve().is_relative_to(scores.resolve()):
            raise click.UsageError(f"{file} lies in {scores}, which --scores makes anew: write it elsewhere")


def classify_files(given: dict[str, Any]) -> None:
    """Classify image files, write what was asked for, and say what was found."""
    with loading.libraries():
        console = options.stderr_console(given["quiet"])
        options.check_json(given["as_json"], given["output"])
        from geozoom.classifiedimages import labels_of
        from geozoom.files import check_output
        from geozoom.imageclassification import THRESHOLD, classify_images
        from geozoom.imagescenes import list_fmow, list_folder
        from geozoom.model import load_model
        from geozoom.tables import SUFFIXES

        if str(given["output"]) != "-":
            check_output(given["output"], overwrite=given["overwrite"], suffixes=SUFFIXES)
        prices = _check_scoring(given)
    listing, root = (list_folder, given["folder"]) if given["fmow"] is None else (list_fmow, given["fmow"])
    scenes = listing(root, given["split"])
    model = load_model(given["model"])
    _require_labels(given, str(root), labels_of(scenes, model.card), model.card.classes)
    threshold = THRESHOLD if given["threshold"] is None else given["threshold"]
    with options.progress_bar(console, "scenes") as progress:
        found = classify_images(
            scenes,
            model=model,
            threshold=threshold,
            seed=given["seed"],
            skip_unreadable=given["skip_unreadable"],
            progress=progress,
        )
    # What was labelled may have been unreadable.
    _require_labels(given, str(root), found.labels, model.card.classes)
    curve = None
    if prices is not None:
        curve = _trace(console, model, found.buyable(given["scene_m"]), prices, threshold)
    summary = found.summary() | ({} if curve is None else {"curve": curve.to_dict()})
    found.write(given["output"], overwrite=given["overwrite"])
    _write_scoring(given, found.scores, summary, curve)
    totals = summary["totals"]
    _say(
        console,
        f"{totals['scenes']:,} scenes classified, {totals['scenes_with_hr']:,} of them with HR; "
        f"{totals['patches_used']:,} patches used, S {totals['patches_used'] / totals['scenes']:.2f} of "
        f"{found.card.grid.patches}; HR changed the class of {totals['scenes_changed_by_hr']:,} scenes",
    )
    for note in scenes.notes:
        _say(console, f"note: {note}")
    if found.unreadable:
        named = some_of(found.unreadable)
        _say(console, f"warning: {len(found.unreadable)} images cannot be read and were left out: {named}")
    _show_certainty(console, found.card)
    _show_scores(console, found.labels, found.scores, curve)
    if found.challenge_score is not None:
        _say(
            console,
            f"weighted score of the fMoW challenge: {found.challenge_score:.3f} (of the classes that are shown or "
            f"answered; {int(found.scenes.stray.sum())} false detections count as false positives)",
        )
    if given["as_json"]:
        options.print_json(summary)


def classify_orders(given: dict[str, Any]) -> None:
    """Classify the scenes of a plan, write what was asked for, and say what was found."""
    with loading.libraries():
        options.check_json(given["as_json"], given["output"])
        plain = ("bands", "scale", "offset", "nodata")
        read_options = options.read_options(
            **{name: given[name] for name in (*plain, "assume_crs", "cloud_mask")}
        )
        hr_options = options.read_options(**{name: given[f"hr_{name}"] for name in plain}, prefix="hr-")
        options.check_features_output(given["output"], overwrite=given["overwrite"])
        console = options.stderr_console(given["quiet"])
        from geozoom.bought import read_orders
        from geozoom.classification import classify
        from geozoom.imageclassification import THRESHOLD
        from geozoom.model import load_model
        from geozoom.scenes import SceneLimits
        from geozoom.scores import match_labels

        prices = _check_scoring(given)
    model = load_model(given["model"])
    if given["scores"] is not None or given["curves"]:
        sites = read_orders(given["orders"][0], model.card).sites
        labels = match_labels(() if sites is None else sites.labels, model.card.classes)
        _require_labels(given, str(given["orders"][0]), labels, model.card.classes)
    with options.progress_bar(console, "scenes") as progress:
        scenes = classify(
            given["orders"],
            hr=given["hr"],
            catalog=given["catalog"],
            lr=given["lr"],
            model=model,
            limits=SceneLimits(max_nodata=given["max_nodata"], max_cloud=given["max_cloud"]),
            options=read_options,
            hr_options=hr_options,
            progress=progress,
        )
    # What was labelled may have been skipped.
    _require_labels(given, scenes.source, scenes.labels, scenes.card.classes)
    curve = None if prices is None else _trace(console, model, scenes.buyable(), prices, THRESHOLD)
    summary = scenes.summary() | ({} if curve is None else {"curve": curve.to_dict()})
    scenes.write(given["output"], overwrite=given["overwrite"])
    _write_scoring(given, scenes.scores, summary, curve)
    _show_scenes(console, scenes)
    _show_certainty(console, scenes.card)
    _show_scores(console, scenes.labels, scenes.scores, curve)
    if given["as_json"]:
        options.print_json(summary)


def _show_scenes(console: Console, scenes: ClassifiedScenes) -> None:
    totals = scenes.summary()["totals"]
    clouded = totals["patches_unusable"]
    unusable = f", {clouded:,} more are unusable by Planet's mask" if clouded else ""
    _say(
        console,
        f"{totals['scenes']:,} scenes classified, {totals['scenes_with_hr']:,} of them with HR; "
        f"{scenes.skipped}",
    )
    _say(
        console,
        f"{totals['patches_delivered']:,} of {totals['patches_bought']:,} bought patches were delivered"
        f"{unusable}; "
        f"HR changed the class of {totals['scenes_changed_by_hr']:,} scenes",
    )
    for line in options.delivery_remarks(scenes.received, scenes.coarse, scenes.card.hr_gsd_m):
        _say(console, line)


def _check_scoring(given: dict[str, Any]) -> PriceList | None:
    """Refuse outputs of scores and curves before any work; return the price list if a curve is asked for."""
    from geozoom.files import check_output
    from geozoom.pointfiles import SUFFIXES
    from geozoom.pricelists import load_price_list
    from geozoom.scoreplots import check_scores_folder

    if given["scores"] is not None:
        check_scores_folder(given["scores"], overwrite=given["overwrite"])
    for path in given["curves"]:
        check_output(path, overwrite=given["overwrite"], suffixes=SUFFIXES)
    return load_price_list(given["prices"]).with_uplifts(given["uplifts"]) if given["curves"] else None


def _require_labels(given: dict[str, Any], source: str, labels: Labels, classes: tuple[str, ...]) -> None:
    """Refuse to score what has no labels that the model knows.

    Raises:
        DatasetError: Scores or a curve were asked for, and there are no such labels.
    """
    from geozoom.errors import DatasetError

    if labels.known.any() or (given["scores"] is None and not given["curves"]):
        return
    flag = "--scores" if given["scores"] is not None else "--curve"
    if not labels.given:
        raise DatasetError(
            f"{source}: its scenes have no labels, which {flag} needs; leave it out, or give labels"
        )
    raise DatasetError(
        f"{source}: the model knows none of its classes ({_few(tuple(labels.strangers))}), so {flag} has nothing to "
        f"compare; rename them to the model's ({_few(classes)}), or give the --model that was trained on them"
    )


def _trace(console: Console, model: Any, buyable: Buyable, prices: PriceList, threshold: float) -> MoneyCurve:
    from geozoom.money import trace_money

    with options.progress_bar(console, "curve") as progress:
        return trace_money(model, buyable, prices, threshold=threshold, progress=progress)


def _write_scoring(
    given: dict[str, Any], scores: Scores | None, summary: dict[str, Any], curve: MoneyCurve | None
) -> None:
    if given["scores"] is not None and scores is not None:
        from geozoom.scoreplots import write_scores

        write_scores(given["scores"], scores, summary, overwrite=given["overwrite"])
    if curve is not None:
        for path in given["curves"]:
            curve.write(path, overwrite=given["overwrite"])


def _show_certainty(console: Console, card: ModelCard) -> None:
    if card.answer_temperatures is None:
        _say(
            console,
            "note: the model card does not say how sure answers are, so probabilities are as the streams gave them, "
            "which is often too low or too high; train the model again to have them calibrated",
        )


def _show_scores(console: Console, labels: Labels, scores: Scores | None, curve: MoneyCurve | None) -> None:
    """Say how good the answers are, and what was not scored."""
    if labels.strangers:
        named = _few(tuple(f"{name} ({count:,})" for name, count in labels.strangers.items()))
        _say(
            console,
            f"warning: the model does not know {len(labels.strangers)} of the labels' classes, so these scenes were "
            f"not scored: {named}",
        )
    if scores is None:
        if labels.given:
            _say(console, "no scene has a label that the model knows: nothing was scored")
        return
    told = scores.to_dict()
    low, high = told["accuracy_95"]
    _say(
        console,
        f"{scores.scenes:,} labelled scenes: accuracy {scores.accuracy:.1%} (95% interval {low:.1%} to {high:.1%}) "
        f"at S {scores.sampled:.2f}, by LR alone {scores.lr_accuracy:.1%}; macro F1 {scores.macro_f1:.3f}; expected "
        f"calibration error {scores.ece:.3f}",
    )
    if curve is not None:
        _show_curve(console, curve)


def _show_curve(console: Console, curve: MoneyCurve) -> None:
    from rich.table import Table

    from geozoom.moneycurve import OWN, POLICY

    table = Table(title=f"Accuracy, %, of {curve.scenes:,} scenes", title_justify="left", padding=0)
    columns = {way: curve.of(way) for way in curve.ways}
    for heading in (f"{curve.currency}", "S", *columns):
        # Broken here, so that 80 columns hold all of them: rich would rather cut a word than break narrow.
        broken = fill(heading.replace("-", " ").replace(",", ""), width=9, break_long_words=False)
        table.add_column(broken, justify="right")
    for step, point in enumerate(columns[POLICY]):
        accuracies = (f"{100 * points[step].accuracy:.1f}" for points in columns.values())
        table.add_row(f"{point.cost:,.2f}", f"{point.sampled:.2f}", *accuracies)
    console.print(table)
    (own,) = curve.of(OWN)
    _say(
        console,
        f"the policy at its threshold: {own.accuracy:.1%} for {own.cost:,.2f} {curve.currency}, S {own.sampled:.2f}",
    )
    _say(console, f"prices: {curve.price_list}; {curve.to_dict()['rule']}")


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _say(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True)
