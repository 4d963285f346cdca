"""The sheet of augmented images: its rows, pixels and captions, and what is refused."""

import conftest
import numpy as np
import pytest
from PIL import Image

from bot_jax import show
from bot_jax.augment.registry import augmentations
from bot_jax.errors import InputError

NAMES = ("cat", "dog", "cow")


@pytest.mark.parametrize(
    ("shares", "text"),
    [
        ((0.7, 0.3, 0.0), "cat 0.70 + dog 0.30"),
        ((0.2, 0.3, 0.5), "cow 0.50 + dog 0.30 + cat 0.20"),
        ((0.0, 1.0, 0.0), "dog"),
        ((0.998, 0.002, 0.0), "cat"),  # of a mixture that rounds to one image
        ((0.0, 0.0, 0.0), "(cannot be read)"),
        ((0.25, 0.0, 0.0), "cat 0.25"),  # mixed with one that cannot be read
    ],
)
def test_labels_in_words(shares, text):
    assert show.describe_label(np.float32(shares), NAMES) == text


@pytest.fixture(scope="module")
def config(make_tiny_config):
    config = make_tiny_config()
    config.augment.mixup.alpha = 5.0  # so that both images show
    config.augment.horizontal_flip = {}
    config.data.crop_area = (0.9, 1.0)
    return config


@pytest.fixture(scope="module")
def rows(config):
    return show.make_rows(config, 4)


def test_a_row_for_each_augmentation(config, rows):
    assert [row.title for row in rows] == [
        *("as they are", "random resized crop"),
        *("horizontal_flip", "color_jitter", "pca_noise", "mixup"),
        "all",
    ]
    assert rows[1].details == ["area 0.9 to 1", "aspect ratio 0.75 to 1.333"]
    assert "strength 0.4" in rows[3].details
    assert "alpha 5" in rows[5].details
    assert all(row.images.shape == (4, 8, 8, 3) and len(row.captions) == 4 for row in rows)


@pytest.mark.parametrize("balance", ["resample", "weights"])
def test_more_classes_than_images_and_what_only_training_needs(make_tiny_config, balance):
    config = make_tiny_config()
    config.augment = {}
    config.data.balance = balance
    config.distillation.teacher = "runs/not_there_yet"
    assert [row.title for row in show.make_rows(config, 4)][-1] == "all"


def test_the_first_row_is_what_an_evaluation_sees(rows):
    """The digits are 8x8 pixels, as the model sees them: nothing is resized."""
    from sklearn.datasets import load_digits

    from bot_jax.data.digits import split_members

    images, labels = load_digits(return_X_y=True)
    members = split_members(labels, "train")[[0, 359, 718, 1077]]  # every 1437 / 4
    pixels = np.round(images[members].reshape(4, 8, 8) * (255 / 16))
    np.testing.assert_array_equal(rows[0].images, np.repeat(pixels[..., None], 3, -1))
    assert rows[0].captions == [str(labels[i]) for i in members]


def test_alone_each_is_applied_to_the_same_crops(rows):
    by_title = {row.title: row.images.astype(int) for row in rows}
    crops = by_title["random resized crop"]
    np.testing.assert_array_equal(
        by_title["horizontal_flip"], crops[:, :, ::-1]
    )  # all, not half of them
    changed = by_title["color_jitter"] - crops
    assert (np.abs(changed).max(axis=(1, 2, 3)) > 3).all()
    assert by_title["mixup"].max() <= 255


def test_captions_are_the_shares_of_what_is_seen(rows):
    """Mixup pairs row i with row 3 - i; its shares are read from the captions."""
    crops, mixed = rows[1], rows[5]
    for i, caption in enumerate(mixed.captions):
        shares = dict(part.split() for part in caption.split(" + "))
        assert shares.keys() == {crops.captions[i], crops.captions[3 - i]}
        share = float(shares[crops.captions[i]])
        expected = share * crops.images[i] + (1 - share) * crops.images[3 - i].astype(float)
        # A share has two digits.
        np.testing.assert_allclose(mixed.images[i], expected, atol=0.005 * 255 + 0.51)


def test_the_last_row_is_by_chance_but_always_the_same(config, rows):
    assert rows[-1].captions == rows[5].captions  # the same mixing
    again = show.make_rows(config, 4)
    np.testing.assert_array_equal(rows[-1].images, again[-1].images)
    np.testing.assert_array_equal(rows[3].images, again[3].images)


def test_all_there_are_but_those_that_do_not_fit(config, capsys):
    titles = [row.title for row in show.make_rows(config, 2, every=True)]
    # Their defaults are for images of 224 pixels.
    fitting = [name for name in augmentations() if name not in ("hide_and_seek", "grid_mask")]
    assert titles == ["as they are", "random resized crop", *fitting]
    assert "Left out: config.augment.grid_mask.distance" in capsys.readouterr().out


def test_pixels_of_the_sheet(rows):
    sheet = show.draw_sheet(rows)
    # 8 pixels are enlarged 14 times, to 112; 210 of titles, 6 of margin a column.
    assert sheet.width == 210 + 4 * (112 + 6)
    assert sheet.height >= 7 * (112 + 15 + 6) + 6
    pixels = np.asarray(sheet)
    top = 6
    tile = pixels[top : top + 112, 210 + 118 : 210 + 118 + 112]
    np.testing.assert_array_equal(tile, rows[0].images[1].repeat(14, 0).repeat(14, 1))
    second = pixels[top + 133 :][:112, 210 : 210 + 112]
    np.testing.assert_array_equal(second, rows[1].images[0].repeat(14, 0).repeat(14, 1))
    assert (pixels[top : top + 40, :210].min(axis=(0, 1)) < 128).all()  # the title
    assert (pixels[:, 204:210] == 255).all()  # which does not run into the images


def test_a_caption_that_is_too_wide_goes_on_below():
    images = np.zeros((1, 112, 112, 3), np.uint8)
    heights = [
        show.draw_sheet([show.Row("a", [], images, [caption])]).height
        for caption in ("cat", "longsleeve 0.70 + t-shirt 0.30", "W" * 99)
    ]
    assert heights[1] == heights[0] + 15
    assert heights[2] == heights[0]  # one word is cut


@pytest.fixture
def file(make_tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(conftest, "make_tiny", make_tiny_config, raising=False)
    file = tmp_path / "tiny.py"
    file.write_text("import conftest\n\ndef get_config():\n    return conftest.make_tiny()\n")
    return str(file)


def test_the_command(file, tmp_path, capsys):
    output = tmp_path / "sheet.png"
    flags = [
        "--config",
        file,
        "--output",
        str(output),
        "--images",
        "3",
        "--config.augment.mixup=off",
    ]
    assert show.main(flags) == 0
    assert "5 rows of 3 images" in capsys.readouterr().out
    with Image.open(output) as image:
        assert image.size == (210 + 3 * 118, 5 * 133 + 6)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--images", "1"], "--images 1 must be at least 2"),
        (["--images", "2000"], "2000 images are more than"),
        (["--epoch", "-1"], "--epoch -1 must be at least 0"),
        (["--output", "sheet.text"], "sheet.text: the name must end as a picture's"),
        (["--output", "nowhere/sheet.png"], "nowhere/sheet.png cannot be written"),
        (["--config.augment.mixupp=on"], "Did you mean 'mixup'?"),
        (["--config.augment.mixup.alpha=-1.0"], "config.augment.mixup.alpha = -1.0"),
        (["--config.data.source=digit"], "Did you mean 'digits'?"),
    ],
)
def test_wrong_input_is_refused_in_words(file, flags, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "nowhere/sheet.png" in flags:
        monkeypatch.setattr(
            show,
            "make_rows",
            lambda *_, **__: [show.Row("a", [], np.zeros((1, 8, 8, 3), np.uint8), [""])],
        )
    assert show.main(["--config", file, "--output", "x.png", *flags]) == 2
    assert words in capsys.readouterr().err


def test_too_much_mixing_is_refused_as_in_training(config):
    augment = config.augment.copy_and_resolve_references()
    try:
        config.augment.mixup.probability = 1.5
        with pytest.raises(InputError, match=r"mixup.probability = 1.5 must be from 0 to 1"):
            show.make_rows(config, 2)
    finally:
        config.augment = augment
