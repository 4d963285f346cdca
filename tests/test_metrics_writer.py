import json

import pytest

from bot_jax.metrics_writer import MetricsWriter


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_metrics_go_on_where_the_checkpoint_is(tmp_path):
    writer = MetricsWriter(tmp_path, 0)
    for step in (1, 2, 3):
        writer.write("metrics", step, step / 10, "train", {"loss": 1.0 / step})
    writer.close()
    file = tmp_path / "metrics.jsonl"
    file.write_text(file.read_text() + '{"step": 4, "lo')  # killed in the middle of a line

    writer = MetricsWriter(tmp_path, 2)
    writer.write("metrics", 3, 0.3, "train", {"loss": 7.0})
    writer.close()
    assert lines(file) == [
        {"step": 1, "epoch": 0.1, "split": "train", "loss": 1.0},
        {"step": 2, "epoch": 0.2, "split": "train", "loss": 0.5},
        {"step": 3, "epoch": 0.3, "split": "train", "loss": 7.0},
    ]
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_tensorboard_has_the_scalars(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    writer = MetricsWriter(tmp_path, 0)
    writer.write("metrics", 5, 0.5, "validation", {"top1": 12.5})
    writer.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    [event] = events.Tensors("validation/top1")
    assert (event.step, make_ndarray(event.tensor_proto)) == (5, 12.5)


@pytest.mark.parametrize("damage", [b"\0\0\0\n", b"\xff\xfe", b"{}}\n"])
def test_lines_from_a_damaged_one_on_are_dropped(tmp_path, damage):
    file, line = tmp_path / "metrics.jsonl", b'{"step": 1, "split": "train"}\n'
    file.write_bytes(line + damage + line)
    MetricsWriter(tmp_path, 5).close()
    assert file.read_bytes() == line


def test_a_full_disk_is_an_error_of_python(tmp_path, monkeypatch):
    """Also where TensorFlow is what finds it full."""
    from bot_jax.data.tensorflow_cpu import tf

    def full(*arguments, **options):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    writer = MetricsWriter(tmp_path, 0)
    with monkeypatch.context() as patch:
        patch.setattr(writer._board, "as_default", full)
        with pytest.raises(OSError, match="No space left"):
            writer.write("metrics", 1, 0.1, "train", {"loss": 1.0})
        patch.setattr(writer._board, "close", full)
        with pytest.raises(OSError, match="No space left"):
            writer.close()
