"""The recipes: that they can be read, and (slow) that they reach the figures that they name."""

import os
from pathlib import Path

import pytest
import yaml

from luban import catalogue
from luban.core.errors import UserError
from luban.planning import from_words

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipes_can_be_read(recipe):
    values = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    assert values["must"] and values["about"]
    assert from_words({"config": str(recipe)}).data.path in catalogue.names()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipes_reach_their_figures(recipe, luban_cli, tmp_path):
    weights = []
    if "model.path=" in recipe.read_text(encoding="utf-8"):
        if "LUBAN_MINILM" not in os.environ:
            pytest.skip("LUBAN_MINILM names no folder of all-MiniLM-L6-v2")
        weights = ["--set", f"model.path={os.environ['LUBAN_MINILM']}"]
    data = from_words({"config": str(recipe)}).data.path
    if "advice" in catalogue.describe(data):
        try:
            catalogue.table(data)
        except UserError as error:
            pytest.skip(str(error))
    luban_cli("train", recipe, *weights, "--out", tmp_path / "run", "--json")


def test_a_recipe_that_misses_says_so_and_exits_with_1(luban_cli, tmp_path):
    recipe = tmp_path / "proud.yaml"
    recipe.write_text("data: {path: iris, target: species}\nmodel: constant\nbaselines: none\nmust: {accuracy: 0.99}\n")
    done = luban_cli("train", recipe, code=1)
    assert "missed: accuracy 0.3333, must be 0.99" in done.stderr
