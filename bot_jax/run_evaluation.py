"""The evaluations of a run: of its evaluation split, and of training images seen alike."""

from bot_jax import parallel
from bot_jax.data.sample import sample_source
from bot_jax.diagnosis import diagnose
from bot_jax.early import start_early
from bot_jax.evaluate import evaluated_variables, make_evaluate, make_read
from bot_jax.workdir import TRAIN_CLEAN


class RunEvaluation:
    """Evaluates the state of a run now and then, with one compiled step.

    A result is that of `evaluate.make_evaluate`; where `config.diagnosis_examples` are asked for,
    it has theirs in it, under `workdir.TRAIN_CLEAN`.
    """

    def __init__(self, config, setup):
        """Of `config`, the whole configuration, and `setup.Setup`."""
        layout = parallel.evaluation_layout(config.eval_batch_size, setup.layout.mesh)
        self._config = config
        self._read, self._evaluate = make_evaluate(config, setup.model, setup.eval_source, layout)
        self._read_clean = None
        if config.diagnosis_examples:
            sample = sample_source(setup.labelled_source, config.diagnosis_examples)
            self._read_clean = make_read(config, sample, layout)
        self._early_batches = None  # of the coming evaluation, where they are being read already
        self._verdict = ""  # of the newest diagnosis
        self._hint = ""  # that was shown last

    def read_early(self) -> None:
        """Begins to read what the next evaluation needs, unless that was begun."""
        if self._early_batches is None:
            self._early_batches = start_early(self._read())

    def measure(self, state, keep_going=lambda: True) -> dict | None:
        """Evaluates a `TrainState`; None where `keep_going()` became false."""
        variables = evaluated_variables(state)
        batches, self._early_batches = self._early_batches, None
        clean_batches = self._read_clean and start_early(self._read_clean())
        result = self._evaluate(variables, batches, keep_going)
        if result is None or clean_batches is None:
            return result
        clean = self._evaluate(variables, clean_batches, keep_going)
        return clean and result | {TRAIN_CLEAN: clean}

    def describe(self, result: dict) -> str:
        """A line about a result; below it the hint of a diagnosis where the verdict is new."""
        split, clean = self._config.data.eval_split, result.get(TRAIN_CLEAN)
        line = (
            f"{split}: top-1 {result['top1']:.2f} %  top-5 {result['top5']:.2f} %  "
            f"loss {result['loss']:.4f}  {result['num_examples']:,} examples"
        )
        if clean is not None:
            line += f"  clean training images: top-1 {clean['top1']:.2f} %"
            if diagnose(self._config, clean, result).verdict != self._verdict:
                line += f"\n{self.hint(result)}"
        return line

    def hint(self, result: dict) -> str:
        """What a diagnosis says of a result, or nothing where that was the last that it said."""
        clean = result.get(TRAIN_CLEAN)
        diagnosis = clean and diagnose(self._config, clean, result)
        if not diagnosis or diagnosis.text == self._hint:
            return ""
        self._verdict, self._hint = diagnosis.verdict, diagnosis.text
        return diagnosis.text

    def by_split(self, result: dict) -> dict[str, dict]:
        """What metrics.jsonl has of a result, by split."""
        keys = ("top1", "top5", "loss", "num_examples")
        named = {self._config.data.eval_split: result}
        if TRAIN_CLEAN in result:
            named = {TRAIN_CLEAN: result[TRAIN_CLEAN], **named}
        return {split: {key: own[key] for key in keys} for split, own in named.items()}
