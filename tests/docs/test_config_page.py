"""docs/config.md is what the schema says today."""

import pytest
from config_page import write_page
from documented import ROOT

from nitrogen_train.cli.commands import read_comments
from nitrogen_train.config import DataConfig, EvaluateConfig, ExportConfig, NgOptions, RunConfig


def test_the_page_of_the_config_keys_is_up_to_date() -> None:
    page = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")

    assert page == write_page(), "python tests/docs/config_page.py > docs/config.md"


@pytest.mark.parametrize("schema", [RunConfig, DataConfig, EvaluateConfig, ExportConfig, NgOptions])
def test_every_key_has_a_sentence(schema: type) -> None:
    assert not [key for key, text in read_comments(schema).items() if not text]
