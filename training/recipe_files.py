"""Recipes from TOML files and from the records of runs, with what `--set` changes."""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from geozoom.errors import RecipeError
from geozoom.networks import bagnet_name
from training import STAGES
from training.recipe import Recipe
from training.recipe_rules import check_recipe_values

RECIPES = Path(__file__).parent / "recipes"


def recipe_of(dataset: str, name: str) -> str:
    """Return which recipe `name` means for a dataset: "default" and "paper" are its own, if it has them."""
    own = {"default": dataset, "paper": f"paper-{dataset}"}.get(name, name)
    return own if (RECIPES / f"{own}.toml").is_file() else name


def load_recipe(
    name: str,
    overrides: list[str],
    epochs: int | None = None,
    *,
    stages: Sequence[str] = STAGES,
    bagnet: bool = False,
    held: dict[str, Any] | None = None,
) -> Recipe:
    """Load a recipe and apply `--set` overrides.

    Args:
        name: A recipe that ships with geozoom ("default", "paper", …) or the path of a TOML file.
        overrides: "table.key=value" with a TOML value; a bare word is taken as a string.
        epochs: If given, the epochs of `stages`, with `ft2` those of the scout and with `lr` those of baselines, as far
            as the recipe does not leave them out.
        stages: What `epochs` is for.
        bagnet: Run the recipe's classifier on each patch; see `with_bagnet`.
        held: The recipe of a run's record, which is then taken instead of the one called `name`.

    Raises:
        RecipeError: The file, a key or a value is not usable.
    """
    content = _read(name) if held is None else recipe_from(held).to_dict()
    for override in overrides:
        _set(content, override)
    if epochs is not None:
        for stage in stages:
            _shorten(content.get(stage), epochs)
        if STAGES[-1] in stages:  # the scout follows the last one
            _shorten(content.get("scout"), epochs)
        if "lr" in stages:  # baselines learn as `lr` does, but for what they say themselves
            _shorten(content.get("baselines"), epochs)
    recipe = _build(Recipe, content, f"recipe {name}")
    if bagnet:
        return with_bagnet(recipe)
    check_recipe_values(recipe)
    return recipe


def with_bagnet(recipe: Recipe) -> Recipe:
    """Return a recipe whose classifier, which fits the size of its images, runs on each patch.

    Raises:
        RecipeError: The recipe does not fit a BagNet.
    """
    networks = dataclasses.replace(recipe.networks, classifier=bagnet_name(recipe.networks.classifier))
    recipe = dataclasses.replace(recipe, networks=networks)
    check_recipe_values(recipe)
    return recipe


def recipe_from(content: dict[str, Any]) -> Recipe:
    """Return the recipe of a run's record; keys that came after the run have their defaults.

    Raises:
        RecipeError: The record is not of a recipe.
    """
    return _build(Recipe, content, "the run's recipe")


def _read(name: str, below: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read a recipe's tables over those of the recipe that it names as its `base`."""
    file = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    if not file.is_file():
        shipped = ", ".join(sorted(recipe.stem for recipe in RECIPES.glob("*.toml")))
        raise RecipeError(f"recipe {name!r} was not found; name one of {shipped}, or a .toml file")
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file}: not valid TOML ({error}); correct the file") from error
    base = content.pop("base", None)
    if base is None:
        return content
    if not isinstance(base, str) or name in (*below, base):
        raise RecipeError(f"{file}: base = {base!r} must name another recipe")
    return _over(_read(base, (*below, name)), content)


def _shorten(table: object, epochs: int) -> None:
    """Set the epochs of a table and of those within it, but for stages that are left out."""
    if not isinstance(table, dict):
        return
    if table.get("epochs"):
        table["epochs"] = epochs
    for inner in table.values():
        _shorten(inner, epochs)


def _over(base: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    """Return the tables of a recipe's base with its own laid over them, and tables within tables likewise."""
    merged = dict(base)
    for key, value in content.items():
        held = merged.get(key)
        merged[key] = _over(held, value) if isinstance(held, dict) and isinstance(value, dict) else value
    return merged


def _set(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise RecipeError(f"--set {override!r}: write it as table.key=value, for example ft2.price=0.3")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *tables, last = key.strip().split(".")
    for table in tables:
        content = content.setdefault(table, {})
        if not isinstance(content, dict):
            raise RecipeError(f"--set {override!r}: {table!r} is a value, not a table")
    content[last] = value


_T = TypeVar("_T")


def _build(kind: type[_T], content: dict[str, Any], where: str) -> _T:
    """Turn a table into the dataclass `kind`, refusing keys and types that it does not have."""
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(content) - set(hints))
    if unknown:
        raise RecipeError(
            f"{where}: key {unknown[0]!r} is not known; known keys are {', '.join(sorted(hints))}"
        )
    values = {key: _convert(hints[key], value, f"{where}: {key}") for key, value in content.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise RecipeError(f"{where}: a table or key is missing ({error})") from error


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise RecipeError(f"{where} must be a table")
        return _build(typing.cast("type[Any]", hint), value, where)
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(option for option in typing.get_args(hint) if option is not type(None))
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise RecipeError(f"{where} must be a list, not {value!r}")
        item, *rest = typing.get_args(hint)
        if rest != [...] and len(value) != len(rest) + 1:
            raise RecipeError(f"{where} must hold {len(rest) + 1} values, not {len(value)}")
        return tuple(_convert(item, entry, where) for entry in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise RecipeError(f"{where} must be of type {hint.__name__}, not {value!r}")
    return value
