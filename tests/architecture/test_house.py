from house import measure

HOUSE = measure()


def test_the_source_stays_small() -> None:
    assert HOUSE.num_files <= 204, HOUSE.describe()
    assert HOUSE.num_lines <= 40_700, HOUSE.describe()


def test_few_modules_have_one_importer() -> None:
    assert len(HOUSE.with_one_importer) <= 0.28 * HOUSE.num_modules, HOUSE.describe()


def test_train_reaches_few_files() -> None:
    assert len(HOUSE.closure_of_train) <= 96, HOUSE.describe()


def test_the_first_page_of_the_package_is_short() -> None:
    assert len(HOUSE.top_files) <= 8, HOUSE.describe()


def test_no_name_is_taken_twice() -> None:
    assert not HOUSE.names_taken_twice, HOUSE.describe()
