from pathlib import Path

from house import measure

HOUSE = measure()


def test_the_source_stays_small() -> None:
    # Native games are some 300 lines each, most of it what their experts read and think.
    assert HOUSE.num_files <= 276, HOUSE.describe()
    assert HOUSE.num_lines <= 66_000, HOUSE.describe()


def test_few_modules_have_one_importer() -> None:
    # A command's or verb's work has the command as its one importer, and is imported on demand.
    split = len(HOUSE.with_one_importer) - len(HOUSE.on_demand)
    assert split <= 0.215 * HOUSE.num_modules, HOUSE.describe()
    assert len(HOUSE.with_one_importer) <= 0.305 * HOUSE.num_modules, HOUSE.describe()


def test_train_reaches_few_files() -> None:
    # Two are of serving, whose command is checked as the others are; one says how to play in time.
    # Of these five name native games by their files: a run says which of its games can be played.
    assert len(HOUSE.closure_of_train) <= 75, HOUSE.describe()


def test_the_first_page_of_the_package_is_short() -> None:
    assert len(HOUSE.top_files) <= 8, HOUSE.describe()


def test_no_name_is_taken_twice() -> None:
    assert not HOUSE.names_taken_twice, HOUSE.describe()


def test_the_measures_of_a_small_house(tmp_path: Path) -> None:
    files = {
        "nitrogen_train/__init__.py": "from nitrogen_train.a.same import Same\n",
        "nitrogen_train/train.py": "from nitrogen_train import Same\nimport data_tools.one\n",
        "nitrogen_train/a/same.py": "class Same: ...\n",
        "data_tools/__init__.py": "",
        "data_tools/one.py": "from data_tools.b import same\n",
        "data_tools/b/__init__.py": "",
        "data_tools/b/same.py": "class Same: ...\n",
        "data_tools/two.py": "from data_tools.b.same import Same\n",
        "data_tools/asked.py": "def work(): ...\n",
        "data_tools/verbs.py": "def run():\n    from data_tools.asked import work\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    house = measure(tmp_path)

    assert (house.num_files, house.num_lines, house.num_modules) == (10, 10, 7)
    assert house.top_files == ["__init__.py", "train.py"]
    assert house.names_taken_twice == ["class Same", "module same"]
    assert house.with_one_importer == ["data_tools.asked", "data_tools.one"]
    assert house.on_demand == ["data_tools.asked"]
    assert house.closure_of_train == [
        "data_tools.b.same", "data_tools.one", "nitrogen_train.a.same", "nitrogen_train.train",
    ]  # fmt: skip
