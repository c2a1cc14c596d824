"""Preferences on disk: what one version or one tab cannot read or does not know is not lost."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from smolvlm_core.errors import LensError
from smolvlm_core.preferences import FILE, MAX_PRESETS, Preference, Preferences
from smolvlm_core.prompt.generation import GenerationSettings

WARM = Preference(model="a", settings=GenerationSettings(temperature=0.7))


def test_preferences_survive_a_restart(tmp_path: Path) -> None:
    found = Preferences(tmp_path)
    assert found.last() == Preference() and found.presets() == {}
    found.save_last(WARM)
    assert found.save_preset("  A bit   warmer ", WARM) == "A bit warmer"
    again = Preferences(tmp_path)
    assert again.last() == WARM and again.presets() == {"A bit warmer": WARM} and again.problem is None
    again.delete_preset("A bit warmer")
    assert found.presets() == {} and found.last() == WARM


def test_a_preset_that_cannot_be_read_stays_in_the_file(tmp_path: Path) -> None:
    """A later version may have written it."""
    (tmp_path / FILE).write_text(json.dumps({"presets": {"later": ["?"], "old": {"model": "b", "unknown": 1}}}))
    found = Preferences(tmp_path)
    found.save_preset("new", WARM)
    found.delete_preset("new")
    assert list(found.presets()) == ["old"] and "'later' cannot be read" in str(found.problem)
    assert json.loads((tmp_path / FILE).read_text())["presets"] == {
        "later": ["?"],
        "old": {"model": "b", "unknown": 1},
    }


def test_tabs_that_save_at_once_lose_no_preset(tmp_path: Path) -> None:
    found = Preferences(tmp_path)
    names = [str(number) for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: (found.save_preset(name, WARM), found.save_last(WARM)), names))
    assert sorted(found.presets(), key=int) == names


def test_names_and_the_number_of_presets_are_bounded(tmp_path: Path) -> None:
    found = Preferences(tmp_path)
    for name, words in ((" ", "needs a name"), ("x" * 41, "41 characters")):
        with pytest.raises(LensError, match=words):
            found.save_preset(name, WARM)
    for number in range(MAX_PRESETS):
        found.save_preset(f"{number}", WARM)
    with pytest.raises(LensError, match="Delete one first"):
        found.save_preset("one more", WARM)
    found.save_preset("7", Preference())  # in place of one
    assert found.presets()["7"] == Preference()
