import pytest
from data_helpers import data_config

from bot_jax.data.source import make_source
from bot_jax.errors import InputError


def test_source_is_chosen_by_name():
    config = data_config(source="synthetic", num_synthetic=12, num_classes=3)
    source = make_source(config, "train")
    assert source.name == "synthetic train"
    assert source.num_examples == 12
    assert (source.read is None) != (source.stream is None)


def test_unknown_source_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match=r"config.data.source = 'folders'.*'folder'"):
        make_source(data_config(source="folders"), "train")


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    from bot_jax.data import folder

    def refuse(config_data, split):
        raise PermissionError(13, "Permission denied", "/data/cats")

    monkeypatch.setattr(folder, "make", refuse)
    with pytest.raises(InputError, match=r"split 'train' cannot be read.*Permission denied"):
        make_source(data_config(source="folder", path=str(tmp_path)), "train")
