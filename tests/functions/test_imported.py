from pathlib import Path

import pytest

from streamd.core.errors import ConfigError
from streamd.functions.imported import Imported


def test_any_object_of_a_module_is_found_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "parts.py").write_text("LIMIT = 5\n")
    (tmp_path / "models.py").write_text("from parts import LIMIT\n\nclass Model: limit = LIMIT\n")
    model = Imported("models.py:Model", tmp_path, "model", "model")
    limit = Imported("models.py:LIMIT", tmp_path, "limit", "number")
    assert model.found.limit == limit.found == 5
    assert model.where == f"{tmp_path}/models.py:3: 'Model'"
    assert limit.where == f"{tmp_path}/models.py: 'LIMIT'"
    assert set(model.sources) == {"models", "parts"}
    assert model.is_current()
    (tmp_path / "parts.py").write_text("LIMIT = 6\n")
    assert not model.is_current()
    assert Imported("models.py:Model", tmp_path, "model", "model").found.limit == 6


def test_an_object_of_an_installed_package_is_always_current(tmp_path: Path) -> None:
    found = Imported("json:dumps", tmp_path, "model", "model")
    assert found.is_current()
    assert found.sources == {}


def test_a_missing_object_is_refused_at_its_option(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text("class Reading: ...\n")
    with pytest.raises(
        ConfigError, match=r"there is no model 'Readin' in .*: did you mean 'Reading'"
    ) as refused:
        Imported("models.py:Readin", tmp_path, "shape", "model")
    assert refused.value.keys == ("shape",)
    with pytest.raises(ConfigError, match=r"cannot read .*gone.py: No such file") as refused:
        Imported("gone.py:Reading", tmp_path, "shape", "model")
    assert refused.value.keys == ("shape",)
