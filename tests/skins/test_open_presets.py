"""A folder of presets is opened, whatever else lies in it."""

import shutil
from pathlib import Path

import pytest

from nitrogen_train.skins.open_skin import open_presets

PRESETS = Path(__file__).parent / "presets"


def test_presets_are_found_in_all_folders_and_the_rest_is_named(tmp_path: Path) -> None:
    shutil.copytree(PRESETS, tmp_path / "one")
    shutil.copytree(PRESETS, tmp_path / "two" / "deep")
    (tmp_path / "one" / "other.json").write_text('{"elements": "none"}')
    (tmp_path / "photo").mkdir()
    (tmp_path / "photo" / "a.png").write_bytes(b"no picture")

    skins, faults = open_presets(tmp_path)

    assert [skin.name for skin in skins] == ["xbox-controller", "xbox-controller"]
    assert "SOUTH" in skins[0].controls
    (fault,) = faults
    assert fault.startswith(f"{tmp_path / 'photo' / 'a.png'}: ")
    assert "expected one layout (.json) beside it, found 0" in fault


def test_a_folder_without_presets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no preset of input-overlay that can be used"):
        open_presets(tmp_path)
