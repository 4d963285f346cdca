"""Every field of a configuration, with its default: the paper's training at batch size 256.

Other files import this one and override: see quickstart.py for a small one. From the command
line a field is set as `--config.optimizer.momentum=0.8`.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The defaults: ResNet-50-D on ImageNet, 120 epochs, batch 256, float32."""
    config = ConfigDict()
    config.name = ""  # set to the name of the file and its row
    config.imports = ""  # modules or files that add to what is known here: docs/extending.md
    config.dry_run = False  # build and compile all of it, without data, and say what it would take
    config.seed = 0  # all randomness is a function of this, a purpose and a sample's id
    config.epochs = 120.0  # length of the run, warmup included
    config.batch_size = 256  # examples a step, over all devices and micro-batches
    config.accumulation = 1  # micro-batches a step; each has batch_size / accumulation examples
    config.rematerialize = (
        False  # a tenth less memory, a tenth more traffic: models/rematerialize.py
    )
    config.eval_batch_size = 256

    config.data = data = ConfigDict()
    data.source = "tfds"  # digits | folder | list | tfds | synthetic
    # list: allow_outside=True lets paths lead out of its folder; of a source from elsewhere:
    # docs/extending.md
    data.options = ConfigDict()
    data.path = ""  # folder: its directory; list: directory of the lists; tfds: data_dir
    data.tfds_name = "imagenet2012"
    data.train_split = "train"
    data.eval_split = "validation"
    data.image_size = 224  # side of the square that the model sees, in pixels
    data.eval_resize = 0  # shorter side before the centre crop; 0: ceil(image_size / 0.875)
    data.flavor = "paper"  # paper | gluoncv: the reading of the random resized crop
    data.train_crop = "random_resized"  # random_resized | center: the view of the evaluation
    data.crop_area = (0.08, 1.0)  # random resized crop: part of the image's area
    data.crop_aspect_ratio = (3 / 4, 4 / 3)  # width / height
    data.interpolation = "bilinear"  # bilinear | bicubic
    data.antialias = False  # average over pixels where an image shrinks
    data.apply_exif_orientation = False  # turn photographs as their camera noted
    data.on_bad_image = "error"  # error | skip: what to do with a file that cannot be decoded
    data.max_image_pixels = 178_956_970  # refuse an image that declares more; at most this
    data.service = ""  # workers that load training batches: `python -m bot_jax.data_service --help`
    data.train_examples = 0  # learn from so many only, evenly spread (not tfds); 0: all
    data.shuffle_buffer = 16384  # encoded examples; record files only
    data.balance = "none"  # none | weights | resample: classes of different size, data/balance.py
    data.background = ""  # folder of images of anything else: one more class; folder and list only
    data.unlabelled = ""  # folder of images without labels, for a teacher
    data.num_synthetic = 1280  # examples of the synthetic source
    data.num_classes = 1000  # classes of the synthetic source; the others know theirs

    # On the device: name -> options, where {} has the defaults of `python -m bot_jax.augment`. From
    # the command line --config.augment.cutout=on, --config.augment.cutout.length=8 or =off.
    config.augment = augment = ConfigDict()
    augment.horizontal_flip = {}
    augment.color_jitter = {"strength": 0.4, "flavor": "paper"}
    augment.pca_noise = {"std": 0.1}

    config.mixing = mixing = ConfigDict()  # of the augmentations that mix images, such as mixup
    mixing.draw = "group"  # group | batch: what gets one of them by chance, where there are several
    mixing.off_epochs = 0.0  # the last epochs are trained on images as they are

    config.model = model = ConfigDict()
    model.name = "resnet50_d"  # `python -m bot_jax.models` lists all
    model.options = ConfigDict()  # keyword arguments of the model, such as zero_gamma=False

    config.batch_norm = batch_norm = ConfigDict()
    batch_norm.group_size = 32  # examples that share statistics; 0: all of a micro-batch

    config.loss = loss = ConfigDict()
    loss.name = "cross_entropy"  # others from elsewhere: docs/extending.md
    loss.options = ConfigDict()

    config.label_smoothing = label_smoothing = ConfigDict()
    label_smoothing.epsilon = 0.0  # 0.1 in the paper
    label_smoothing.form = "uniform"  # uniform: eps / K | paper: eps / (K - 1)

    # Weights to start with, all but a classifier of other classes: --workdir of a run, a file of
    # `bot_jax.export`, or another framework's (.safetensors, .npz, .pth); "": drawn at random.
    config.pretrained = ""
    config.freeze = freeze = ConfigDict()
    freeze.parameters = ""  # regular expression of names such as stem_conv1/kernel; "": none
    freeze.batch_norm = "inference"  # inference | training: the statistics that frozen layers use

    config.auxiliary_loss_weight = 0.4  # of the loss of an auxiliary head, where the model has one

    config.distillation = distillation = ConfigDict()
    distillation.teacher = ""  # --workdir of its run, or a file of `bot_jax.export`; "": off
    distillation.teacher_model = ""  # refuse any other; "": whatever it is
    distillation.form = "cross_entropy"  # cross_entropy | symmetric_kl, as of SSLD (temperature 1)
    distillation.temperature = 20.0
    distillation.hard_weight = 1.0  # of the loss against the labels; released code: 0.5
    distillation.soft_weight = 1.0  # of T^2 times the loss against the teacher; released code: 0.5
    distillation.compute = "float32"  # of the teacher; as precision.compute

    config.optimizer = optimizer = ConfigDict()
    # adabound | adadelta | adam | adamw | amsbound | lars | rmsprop | sgd
    optimizer.name = "sgd"
    optimizer.options = ConfigDict()  # keyword arguments of the optimiser, such as beta_2=0.99
    optimizer.base_learning_rate = 0.1  # at a batch of 256, see linear_scaling
    optimizer.linear_scaling = True  # multiply by batch_size / 256
    optimizer.momentum = 0.9  # lars, rmsprop, sgd; not in the paper: the released code's
    optimizer.nesterov = True  # sgd
    optimizer.weight_decay = 1e-4  # L2; not in the paper: the released code's
    optimizer.l1 = 0.0  # L1, of the parameters that decay
    optimizer.decay_in = "update"  # update | loss: L1 and L2 as a part of the reported loss
    optimizer.no_bias_decay = True  # decay only weights of convolutions and dense layers
    optimizer.gradient_clip_norm = 0.0  # largest global norm; 0: off
    optimizer.lookahead_steps = 0  # between two updates of Lookahead's slow weights; 0: off
    optimizer.lookahead_alpha = 0.5  # how far these go
    # Beginning of a module's name -> factor: --config.optimizer.layer_rates.stage1=0.1
    optimizer.layer_rates = layer_rates = ConfigDict()

    config.schedule = schedule = ConfigDict()
    # constant | cosine | exponential | piecewise | plateau | polynomial | step | warm_restarts
    schedule.name = "cosine"
    schedule.warmup = "linear"  # constant | gradual: from a base rate | linear
    schedule.warmup_epochs = 5.0
    schedule.warmup_base_rate = 0.0  # gradual; 0: the rate at a batch of 256
    schedule.warmup_factor = 0.1  # constant: part of the rate after it
    schedule.warmup_until_error = 0.0  # constant: not for epochs, until the training error is lower
    schedule.boundaries_epochs = (30.0, 60.0, 90.0)  # piecewise, step: absolute epochs
    schedule.factor = 0.1  # exponential (Inception: 0.94), plateau, step: a multiplier
    schedule.boundary_factors = (
        0.1,
        0.01,
        0.001,
    )  # piecewise: of the peak, from boundaries
    schedule.every_epochs = 2.0  # exponential: multiplied once in so many epochs
    schedule.staircase = False  # exponential: at once, not little by little
    schedule.power = 1.0  # polynomial
    schedule.end_factor = 0.0  # polynomial: part of the peak
    schedule.cycle_epochs = 10.0  # warm_restarts: length of the first cycle
    schedule.cycle_factor = 2.0  # warm_restarts: a cycle's length over that of the one before
    schedule.plateau_patience = 3  # plateau: evaluations without a better top-1

    config.early_stopping = early_stopping = ConfigDict()
    early_stopping.enabled = False
    early_stopping.patience = 5  # evaluations without a better top-1, after which the run ends
    early_stopping.min_improvement = 0.0  # percent that top-1 must rise by; of plateau too

    config.ema_decay = 0.0  # moving average of the weights, used for evaluation; 0: off

    config.precision = precision = ConfigDict()
    # float32 | bfloat16 | float16, with parameters in float32; float64, with all in float64: for
    # proofs, see bot_jax/precision.py. On NVIDIA GPUs since Ampere, JAX multiplies float32 in TF32
    # unless JAX_DEFAULT_MATMUL_PRECISION=highest is in the environment.
    precision.compute = "float32"
    precision.loss_scale = "none"  # none | static | dynamic, for float16
    precision.loss_scale_value = 2.0**15  # static: the scale; dynamic: the first one

    config.eval_every_epochs = 1.0
    config.diagnosis_examples = 1000  # training images that are evaluated as well; 0: off
    config.log_every_steps = 50
    config.checkpoint = checkpoint = ConfigDict()
    checkpoint.every_epochs = 1.0
    checkpoint.keep_last = 2
    checkpoint.keep_best = 1  # by top-1

    config.lock()  # a misspelt field is an error from here on
    for options in (model.options, loss.options, data.options, optimizer.options):
        options.unlock()
    augment.unlock()
    layer_rates.unlock()
    for options in augment.values():
        options.unlock()
    return config
