"""Source ``tfds``: any image classification data set of tensorflow-datasets, from record files.

The records are read as they are, still encoded. An epoch's order is a seeded order of the files,
16 of which are read in turns, and a seeded shuffle buffer of `config.data.shuffle_buffer`
encoded examples. It depends on nothing else, so that a run can resume by passing over records.
"""

import os

from bot_jax.data.source import Source
from bot_jax.data.tensorflow_cpu import tf
from bot_jax.errors import InputError, suggest
from bot_jax.remote import refuse_url
from bot_jax.rng import Purpose, host_seed

_FILES_READ_IN_TURNS = 16
_IMAGENET_ARCHIVES = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar")


def make(config_data, split: str) -> Source:
    """Opens a split, such as "train" or "train[99%:]", of the data set `config_data.tfds_name`.

    `config_data.path` is the folder where tensorflow-datasets keeps its data sets (empty:
    ``~/tensorflow_datasets``), or the folder of one prepared version. A data set that is not
    there is downloaded and prepared, except ImageNet, whose archives have to be put in place.

    Raises:
      InputError: the data set or split is not known, cannot be downloaded, has no image and
        label, or is not stored as tfrecord.
    """
    import tensorflow_datasets as tfds

    builder = _open(config_data, tfds)
    image_key, label_key = _keys(builder, tfds)
    instructions, num_examples = _files(builder, split)
    class_names = tuple(builder.info.features[label_key].names)

    filenames = tf.constant([os.fspath(file.filename) for file in instructions])
    skips = tf.constant([file.skip for file in instructions], tf.int64)
    takes = tf.constant([file.take for file in instructions], tf.int64)
    # Index of each file's first example in the split.
    firsts = tf.cumsum(takes, exclusive=True)
    decoders = {image_key: tfds.decode.SkipDecoding()}

    def read_file(file):
        records = tf.data.TFRecordDataset(filenames[file])
        records = records.skip(skips[file]).take(takes[file])
        return records.enumerate(firsts[file])

    def parse(index, record):
        example = builder.info.features.deserialize_example(record, decoders=decoders)
        return index, example[image_key], tf.cast(example[label_key], tf.int32)

    def stream(epoch, seed):
        files = tf.range(len(instructions), dtype=tf.int64)
        if epoch is None:
            return tf.data.Dataset.from_tensor_slices(files).flat_map(read_file).map(parse)
        order_seed = host_seed(seed, Purpose.ORDER, epoch)
        files = tf.random.experimental.stateless_shuffle(files, order_seed)
        records = tf.data.Dataset.from_tensor_slices(files).interleave(
            read_file, cycle_length=_FILES_READ_IN_TURNS, num_parallel_calls=2, deterministic=True
        )
        # The buffer wants a single number; `order_seed` is two, and one of them the epoch.
        buffer_seed = tf.random.stateless_uniform([], order_seed, None, None, tf.int64)
        records = records.shuffle(
            config_data.shuffle_buffer, seed=buffer_seed, reshuffle_each_iteration=False
        )
        return records.map(parse)

    name = f"tfds {builder.info.full_name} {split}"
    return Source(
        name=name,
        num_examples=num_examples,
        class_names=class_names,
        describe=lambda index: f"example {index} of {name}",
        stream=stream,
    )


def _open(config_data, tfds):
    """The builder of the data set, prepared."""
    name, path = config_data.tfds_name, config_data.path
    if not path.startswith("gs://"):  # which TensorFlow reads itself
        refuse_url("config.data.path", path)
    if path and os.path.isfile(os.path.join(path, "dataset_info.json")):
        return tfds.builder_from_directory(path)
    try:
        builder = tfds.builder(name, data_dir=path or None)
    except (tfds.core.DatasetNotFoundError, ValueError, AssertionError):
        known = tfds.list_builders(with_community_datasets=False)
        raise InputError(
            f"config.data.tfds_name = {name!r} is not a data set of tensorflow-datasets, and "
            f"there is none of that name in {path or '~/tensorflow_datasets'}."
            f"{suggest(name, known)}"
        ) from None
    if builder.is_prepared():
        return builder
    if builder.name == "imagenet2012":
        _check_imagenet_archives(builder)
    try:
        builder.download_and_prepare()
    except Exception as error:  # network, disk, checksums, missing archives: anything at all
        raise InputError(
            f"The data set {name!r} is not in {builder.data_dir}, and it could not be downloaded "
            f"and prepared there: {_one_line(error)}."
        ) from error
    return builder


def _check_imagenet_archives(builder):
    data_dir = os.fspath(builder.data_path.parents[1])
    manual = os.path.join(data_dir, "downloads", "manual")
    missing = [n for n in _IMAGENET_ARCHIVES if not os.path.isfile(os.path.join(manual, n))]
    if missing:
        raise InputError(
            f"ImageNet is not in {data_dir} yet, and it cannot be downloaded without an account. "
            f"Get {' and '.join(missing)} from https://image-net.org/download-images, put "
            f"{'it' if len(missing) == 1 else 'them'} into {manual} and run the same command "
            "again: it will then write the record files once (about 150 GB more, some hours). "
            "If you have them elsewhere, set --config.data.path to the folder that holds "
            "imagenet2012/; if you have ImageNet as folders, use --config.data.source=folder."
        )


def _keys(builder, tfds) -> tuple[str, str]:
    """Names of the image and the label in an example."""
    features = builder.info.features
    found = []
    for wanted in (tfds.features.Image, tfds.features.ClassLabel):
        names = [name for name, feature in features.items() if type(feature) is wanted]
        supervised = [n for n in names if n in (builder.info.supervised_keys or ())]
        if not names:
            raise InputError(
                f"The data set {builder.info.full_name} is not one for image classification: "
                f"none of its features ({', '.join(features)}) is of type {wanted.__name__}."
            )
        found.append((supervised or names)[0])
    return found[0], found[1]


def _files(builder, split: str):
    """The pieces of files that make up a split, and how many examples they hold."""
    try:
        chosen = builder.info.splits[split]
        instructions = [file for file in chosen.file_instructions if file.take > 0]
    except (KeyError, ValueError) as error:
        splits = ", ".join(builder.info.splits)
        raise InputError(
            f"The data set {builder.info.full_name} has no split {split!r}: "
            f"{_one_line(error)}. It has: "
            f"{splits}; a part of one is written as in 'train[:90%]'."
        ) from None
    if not instructions:
        raise InputError(f"The split {split!r} of {builder.info.full_name} has no examples.")
    if builder.info.file_format.value != "tfrecord":
        raise InputError(
            f"{builder.info.full_name} is stored as {builder.info.file_format.value}; only "
            "tfrecord can be read here. Prepare it again in that format."
        )
    return instructions, chosen.num_examples


def _one_line(error) -> str:
    return " ".join(str(error).split()).rstrip(".")
