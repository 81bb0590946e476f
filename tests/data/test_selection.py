import pickle
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from nitrogen_train.data.manifest import Manifest, ManifestRow
from nitrogen_train.data.selection import Selection


@pytest.fixture(scope="module")
def manifest(clip_row: ManifestRow) -> Manifest:
    rows = [
        replace(clip_row, clip_id="a", game="doom_defend", idle_share=0.1, fps=60.0),
        replace(clip_row, clip_id="b", game="doom_gather", idle_share=0.6, split="val"),
        replace(clip_row, clip_id="c", game="half-life", idle_share=0.5, labels="processed"),
        replace(clip_row, clip_id="d", game="doom_defend", idle_share=0.9, width=128),
    ]
    # In several chunks, as a large manifest is.
    tables = [pa.Table.from_pylist([vars(row)]) for row in rows]
    return Manifest(pa.concat_tables(tables))


@pytest.mark.parametrize(
    ("expression", "kept"),
    [
        ("split == train", "acd"),
        ("split != train", "b"),
        ("'train' == split", "acd"),
        ("idle_share < 0.5", "a"),
        ("idle_share <= 0.5", "ac"),
        ("0.5 > idle_share", "a"),
        ("0.1 < idle_share < 0.9", "bc"),
        ("fps == 60", "a"),
        ("width >= 200", "abc"),
        ("width > 127.5", "abcd"),
        ("width in [128]", "d"),
        ("idle_share > -1", "abcd"),
        ("offset in (0, 1e3)", "abcd"),
        ("game in [doom_defend, 'half-life']", "acd"),
        ("game not in (doom_defend,)", "bc"),
        ('game == "half-life"', "c"),
        ("not labels == raw", "c"),
        ("split == val or game == 'half-life'", "bc"),
        ("split == train and not (idle_share < 0.2 or labels == processed)", "d"),
        ("split == train and idle_share < 0.95 and (fps == 60 or width == 128)", "ad"),
        ("clip_id >= b and clip_id < d", "bc"),
        (" split == train ", "acd"),
    ],
)
def test_an_expression_keeps_the_clips_for_which_it_holds(
    manifest: Manifest, expression: str, kept: str
) -> None:
    mask = Selection(expression).select(manifest)

    assert "".join(manifest.row(int(row)).clip_id for row in np.flatnonzero(mask)) == kept


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("spilt == train", "no column 'spilt', did you mean split?"),
        ("valid_runs == 3", "no column 'valid_runs'"),
        ("train == split", "no column 'train'"),
        ("split = train", "invalid syntax"),
        ("", "invalid syntax"),
        ("split ==", "invalid syntax"),
        ("split == 3", "split holds texts, got 3"),
        ("fps == fast", "fps holds numbers, got 'fast'"),
        ("fps == '60'", "fps holds numbers, got '60'"),
        ("fps == True", "fps holds numbers, got True"),
        ("game == None", "game holds texts, got None"),
        ("fps in [30, sixty]", "fps holds numbers, got 'sixty'"),
        ("game in doom", "in takes a list"),
        ("game in game", "in takes a list"),
        ("game == [doom]", "neither a number nor a text"),
        ("game == half-life", "half - life is neither a number nor a text; .* quotes"),
        ("game == -doom", "neither a number nor a text"),
        ("game is doom", "use =="),
        ("split", "split is not a comparison"),
        ("1 == 1", "1 is not a column"),
        ("fps == 2 * 30", "neither a number nor a text"),
        ("fps == 1e1000 or fps == " + "9" * 400, "too large"),
        ("fps < 10j", "fps holds numbers"),
        ("__import__('os').system('true')", "not a comparison"),
        ("game == __import__('os').name", "neither a number nor a text"),
        ("(lambda: 1)() == 1", "is not a column"),
        ("[x for x in game] == 1", "is not a column"),
        ("split == f'{game}'", "neither a number nor a text"),
        ("split == train; import os", "invalid syntax"),
        ("split == '\0'", "null bytes"),
        ("(" * 500 + "split == train" + ")" * 500, "parentheses"),
        ("not " * 100_000 + "split == train", "cannot select"),
    ],
    ids=lambda value: value[:40],
)
def test_what_is_no_selection_is_refused_with_columns_and_an_example(
    expression: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Selection(expression)

    text = str(caught.value)
    assert "shard, offset, size, clip_id" in text
    assert "valid_runs, fps" not in text
    assert "as in: split == train and" in text
    assert "\n" not in text


def test_if_no_clip_is_left_each_part_is_counted_alone(manifest: Manifest) -> None:
    selection = Selection("split == val and (fps == 60 and game in [doom_gather, doom_defend])")

    with pytest.raises(ValueError, match="no clip is left") as caught:
        selection.select(manifest)

    assert str(caught.value).endswith(
        "of 4 clips each part alone keeps: 1 by split == val, 1 by fps == 60, "
        "3 by game in [doom_gather, doom_defend]"
    )


def test_a_selection_reaches_another_process() -> None:
    selection = Selection("idle_share < 0.5 and game in [a, b]")

    sent = pickle.loads(pickle.dumps(selection))

    assert sent.expression == selection.expression
