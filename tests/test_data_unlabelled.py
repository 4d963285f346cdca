"""Images without labels follow the training images, with the label -2."""

import jax
import numpy as np
import pytest
from data_helpers import data_config, encode, smooth_image

from bot_jax.data import folder
from bot_jax.data.pipeline import train_batches
from bot_jax.data.unlabelled import UNLABELLED, check_unlabelled, with_unlabelled
from bot_jax.errors import InputError
from bot_jax.setup import make_setup


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    names = [f"data/{s}/{c}/{i}.png" for s in ("train", "val") for c in "ab" for i in range(3)]
    for seed, name in enumerate([*names, "more/x/1.png", "more/2.png"]):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encode(smooth_image(16, 16, seed), "PNG"))
    (root / "more/3.png").write_bytes(b"no image")
    return root


def test_labels_and_files(images):
    config = data_config(path=str(images / "data"), on_bad_image="skip")
    source = with_unlabelled(folder.make(config, "train"), str(images / "more"))
    assert UNLABELLED == -2
    assert source.labels.tolist() == [0, 0, 0, 1, 1, 1, -2, -2, -2]
    made = train_batches(source, config, seed=0, batch_size=9, rows=np.arange(9), start_step=0)
    for _ in range(2):
        batch = next(made)
        by_file = {
            source.describe(i).removeprefix(f"{images}/"): (label, bad)
            for i, label, bad in zip(
                batch["index"].tolist(), batch["label"].tolist(), batch["bad"], strict=True
            )
        }
        assert len(by_file) == 9
        assert by_file["more/2.png"] == by_file["more/x/1.png"] == (-2, False)
        # What cannot be decoded does not count, with a label or without.
        assert by_file["more/3.png"] == (-1, True)
        assert by_file["data/train/b/0.png"] == (1, False)


def test_only_the_training_split_has_them(make_tiny_config, images):
    config = make_tiny_config()
    config.data.source, config.data.path = "folder", str(images / "data")
    config.batch_size, config.batch_norm.group_size = 8, 0
    config.data.unlabelled = str(images / "more")
    with pytest.raises(InputError, match=r"config.data.unlabelled = .* needs a teacher"):
        make_setup(config)
    config.distillation.teacher = "somewhere"
    config.distillation.teacher_model = config.model.name
    setup = make_setup(config, devices=jax.devices()[:1], trained=False)
    assert (setup.source.num_examples, setup.eval_source.num_examples) == (9, 6)
    assert setup.balance.counts.tolist() == [3, 3]
    config.data.balance = "weights"
    with pytest.raises(InputError, match="do not go together"):
        check_unlabelled(config)


def test_record_files_are_refused(images):
    import dataclasses

    source = folder.make(data_config(path=str(images / "data")), "train")
    stream = dataclasses.replace(source, read=None, stream=lambda epoch, seed: None)
    with pytest.raises(InputError, match="is read from record files"):
        with_unlabelled(stream, str(images / "more"))
    with pytest.raises(InputError, match=r"config.data.unlabelled = '.*nowhere' is not a folder"):
        with_unlabelled(source, str(images / "nowhere"))
