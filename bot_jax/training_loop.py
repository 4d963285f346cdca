"""The loop of a training run: steps, metrics, evaluations, checkpoints and signals."""

import itertools
import time
from collections import deque

import jax
import jax.numpy as jnp

from bot_jax import parallel, processes, rejection, results, workdir
from bot_jax.device_batches import device_batches, teacher_constants
from bot_jax.early import start_early
from bot_jax.errors import TrainingFailed
from bot_jax.evaluate import evaluated_variables
from bot_jax.interrupt import Interrupted
from bot_jax.metrics import first_bad_step, means, zero_metrics
from bot_jax.metrics_writer import MetricsWriter
from bot_jax.optim.feedback import after_evaluation, stops_early
from bot_jax.progress import ProgressLine, StartUp, Stopwatch, format_duration
from bot_jax.run_evaluation import RunEvaluation
from bot_jax.setup import Setup
from bot_jax.step import make_train_step

# Batches that are sent to the device ahead of the step that needs them.
AHEAD = 2
# Steps that the host may be ahead of the device: enough to keep it busy, few enough that
# batches waiting on the device do not fill its memory.
IN_FLIGHT = 4
# Steps before an evaluation at which its first batch begins to be read.
READ_EARLY = 8


class TrainingLoop:
    """The loop, and what it keeps track of on the host."""

    def __init__(
        self,
        config,
        setup: Setup,
        directory,
        checkpoints,
        signal_received,
        start,
        start_up: StartUp,
    ):
        """Opens the files of the run.

        Args:
          config: the whole configuration.
          setup: what `make_setup` made of it.
          directory: the workdir.
          checkpoints: `checkpoint.Checkpoints`, open.
          signal_received: a function without arguments: the signal that asks to stop, or None.
          start: the step of the state that it begins with.
          start_up: the times until the first step.
        """
        self.config, self.setup, self.directory = config, setup, directory
        self.checkpoints, self.signal_received = checkpoints, signal_received
        self.start, self.start_up = start, start_up
        self.last_step = setup.total_steps  # an earlier one where the run is stopped early
        self.writer = MetricsWriter(directory, start)
        self.progress = ProgressLine(setup.total_steps, start)
        self.stopwatch = Stopwatch(start)
        self.evaluation = RunEvaluation(config, setup)
        self.in_flight = deque()  # (step, done) of the steps that may not be finished
        self.rate_scale = 1.0  # by reductions on a plateau
        self.waited = 0  # evaluations since the best one
        self.unread = None  # (step, metrics on the device) that were not yet written
        self.zeros = parallel.replicate(zero_metrics(), setup.layout)
        self.skipped_images = workdir.read_skipped_images(directory)

    def close(self):
        """Closes the progress line and the files."""
        self.progress.close()
        self.writer.close()

    def go(self, state):
        """Trains from `state` to the last step, evaluates and saves; returns the final result.

        Raises:
          TrainingFailed: a loss or gradient is not finite.
          Interrupted: a signal came; the state was saved.
        """
        config, setup = self.config, self.setup
        train_step = make_train_step(config, setup)
        constants = teacher_constants(setup)
        evaluation = None
        # Of a checkpoint: the weights of a new run are still being drawn, and are not waited for.
        if self.start and stops_early(jax.device_get(state.feedback), config):
            self.last_step = self.start  # only the result was missing
        if self.start < self.last_step:
            # Before anything waits for the devices.
            self.progress.line("Compiling the training step ...")
            batch_like = parallel.train_batch_like(config.data.image_size, setup.layout)
            lowered = train_step.lower(state, batch_like, *constants)
        feedback = jax.device_get(state.feedback)
        self.rate_scale = float(feedback.rate_scale)
        if self._evaluates(self.start) and feedback.evaluated_step < self.start:
            # A signal came before the evaluation that was due at this step.
            evaluation, state = self._evaluate(self.start, state)
            self._save(self.start, state, evaluation)
        if self.start < self.last_step:
            # Not before: tracing is Python's work, as this is, but compiling is not.
            batches = start_early(self._device_batches())
            lowered.compile()
            self.start_up.finished("compilation")
        self.stopwatch.restart(self.start)
        for step in itertools.takewhile(self._goes_on_to, itertools.count(self.start + 1)):
            started = time.perf_counter()
            batch = next(batches)
            self.stopwatch.waited(time.perf_counter() - started)
            if step == self.start + 1:
                self.start_up.finished("first batch")
            state, done = train_step(state, batch, *constants)
            self.in_flight.append((step, done))
            if step == self.start + 1:
                jax.block_until_ready(done)
                self._started(step)
            if any(self._evaluates(step + ahead) for ahead in range(READ_EARLY)):
                self.evaluation.read_early()
            if step % config.log_every_steps == 0 or step == self.last_step:
                while self.unread is not None:
                    self._wait_for_oldest()
                state = self._take_out_metrics(step, state)
            while self.in_flight and self._is_due(self.in_flight[0][1]):
                self._wait_for_oldest()
            if self._evaluates(step) or self._saves(step) or self.signal_received():
                while self.in_flight:
                    self._wait_for_oldest()
                self._check(step, jax.device_get(state.metrics))
                self.stopwatch.pause()
                evaluation = None
                if self._evaluates(step):
                    evaluation, state = self._evaluate(step, state)
                self._save(step, state, evaluation)
                self.stopwatch.go_on()
        self.checkpoints.wait()
        return self._finish(state, evaluation)

    def _goes_on_to(self, step):
        return step <= self.last_step

    def _take_out_metrics(self, step, state):
        """Leaves the metrics to be written, and zeros in the state."""
        # So that no step overwrites them before they are read, `IN_FLIGHT` steps from now. The
        # next step donates its copy of the zeros.
        self.unread = (step, state.metrics)
        return state.replace(metrics=jax.tree.map(jnp.copy, self.zeros))

    def _started(self, step):
        self.start_up.finished("first step")
        self.progress.line(str(self.start_up))
        self.writer.write("timing", step, self._epoch(step), "start", self.start_up.scalars())
        self.stopwatch.restart(step)

    def _is_due(self, done):
        return len(self.in_flight) > IN_FLIGHT or done.is_ready()

    def _wait_for_oldest(self):
        step, done = self.in_flight.popleft()
        jax.block_until_ready(done)
        self.progress.advance(step)
        if self.unread is not None and step >= self.unread[0]:
            self._write_metrics()

    def _is_every(self, epochs, step):
        if not step:
            return False
        steps = max(round(epochs * self.setup.steps_per_epoch), 1)
        return step == self.last_step or (epochs > 0 and step % steps == 0)

    def _evaluates(self, step):
        return self._is_every(self.config.eval_every_epochs, step)

    def _saves(self, step):
        return self._is_every(self.config.checkpoint.every_epochs, step)

    def _save(self, step, state, evaluation):
        """Saves where it is time to, or where a signal asks for it: then this ends the run."""
        stop = self.signal_received()
        is_best = evaluation and self.config.early_stopping.enabled and self.waited == 0
        if self._saves(step) or stop or is_best:
            if processes.are_several():
                self.skipped_images = processes.union(self.skipped_images)
                workdir.write_skipped_images(self.directory, self.skipped_images)
            began = time.perf_counter()
            self.checkpoints.save(step, state, evaluation)
            standstill = {"seconds": time.perf_counter() - began}
            self.writer.write("timing", step, self._epoch(step), "checkpoint", standstill)
        if stop and not (evaluation and step == self.last_step):
            self.checkpoints.wait()
            raise self._interrupted(stop, step)

    def _interrupted(self, stop, step):
        return Interrupted(
            stop,
            f"Stopped by a signal; saved after step {step:,} of {self.setup.total_steps:,}. "
            "Run the same command again to go on.",
        )

    def _epoch(self, step):
        return step / self.setup.steps_per_epoch

    def _device_batches(self):
        """Batches on the device, `AHEAD` of them sent before they are needed."""
        batches = device_batches(self.config, self.setup, self.start, self._note_bad_images)
        queue = deque()
        for batch in itertools.islice(batches, self.setup.total_steps - self.start):
            queue.append(batch)
            if len(queue) > AHEAD:
                yield queue.popleft()
        yield from queue

    def _note_bad_images(self, examples):
        self.skipped_images |= set(map(self.setup.source.describe, examples))
        if not processes.are_several():
            workdir.write_skipped_images(self.directory, self.skipped_images)

    def _check(self, step, metrics):
        """Stops the run if a step since the last reading was not finite."""
        bad_step = first_bad_step(step, metrics, self.config.precision.loss_scale)
        if not bad_step:
            return
        saved = self.checkpoints.latest_step
        where = f"the checkpoint of step {saved:,} is intact" if saved else "nothing was saved yet"
        precision = self.config.precision
        advice = "a smaller config.optimizer.base_learning_rate, a longer warmup"
        if precision.compute == "float16":
            advice += " or config.precision.loss_scale=dynamic"
        raise TrainingFailed(
            f"The loss or a gradient was not finite at step {bad_step:,} "
            f"(epoch {self._epoch(bad_step):.2f}, "
            f"learning rate {self.rate_scale * float(self.setup.schedule(bad_step - 1)):.6g}, "
            f"loss scale {float(metrics['loss_scale']):g}); {where}. "
            f"Try {advice}, in another --workdir."
        )

    def _write_metrics(self):
        """Writes the metrics that were taken out of the state, and shows them."""
        step, metrics = self.unread
        self.unread = None
        metrics = jax.device_get(metrics)
        self._check(step, metrics)
        epoch, scalars = self._epoch(step), means(metrics)
        self.writer.write("metrics", step, epoch, "train", scalars)
        pace, waiting = self.stopwatch.window(step)
        timing = {"images_per_second": pace * self.config.batch_size, "data_wait": waiting}
        self.writer.write("timing", step, epoch, "train", timing)
        if self.config.precision.loss_scale == "none":
            note = ""
        else:
            note = f"skipped {scalars['skipped_steps']}  scale {scalars['loss_scale']:g}  "
        left = format_duration((self.setup.total_steps - step) / pace) if pace else "?"
        self.progress.news(
            f"epoch {epoch:.2f}/{self.config.epochs:g}  left {left}  "
            f"loss {scalars['loss']:.4f}  top-1 {scalars['top1']:5.2f}  "
            f"lr {scalars['learning_rate']:.5f}  {timing['images_per_second']:,.0f} images/s  "
            f"waiting for data {waiting:.0%}  {note}step {step:,}/{self.setup.total_steps:,}"
        )

    def _evaluate(self, step, state):
        """Evaluates; returns the result, or None where a signal came in between, and the state."""
        result = self.evaluation.measure(state, keep_going=lambda: not self.signal_received())
        if result is None:
            return None, state
        if not self.writer.was_evaluated(step):
            for split, scalars in self.evaluation.by_split(result).items():
                self.writer.write("metrics", step, self._epoch(step), split, scalars)
        self.progress.line(f"epoch {self._epoch(step):.2f}  {self.evaluation.describe(result)}")
        return result, self._feed_back(step, state, result["top1"])

    def _feed_back(self, step, state, top1):
        """Accounts for an evaluation, which may have the run end here."""
        before = jax.device_get(state.feedback)
        feedback = after_evaluation(before, step, top1, self.config)
        if feedback.rate_scale != before.rate_scale:
            self.progress.line(
                f"epoch {self._epoch(step):.2f}  learning rate x {self.config.schedule.factor:g}: "
                f"no better top-1 in {feedback.waited} evaluation(s)"
            )
        self.rate_scale, self.waited = float(feedback.rate_scale), int(feedback.waited)
        state = state.replace(feedback=parallel.replicate(feedback, self.setup.layout))
        if step < self.last_step and stops_early(feedback, self.config):
            self.last_step = step
            self.progress.line(
                f"epoch {self._epoch(step):.2f}  stopped early after step {step:,} of "
                f"{self.setup.total_steps:,}: no better top-1 than {feedback.best:.2f} % in "
                f"{feedback.waited} evaluation(s)"
            )
            if int(state.metrics["steps"]) > 0:
                state = self._take_out_metrics(step, state)
                self.stopwatch.go_on()  # the evaluation is not a part of the last steps' time
                self._write_metrics()
        return state

    def _go_back(self, state):
        """The state with the weights of the best evaluation, and that step."""
        step, own = self.checkpoints.best_step, evaluated_variables(state)
        best = self.checkpoints.restore_variables(own, self.setup.layout, step)
        self.progress.line(f"Going back to the weights of step {step:,}, the best.")
        return state.replace(**best, ema=None), step

    def _finish(self, state, evaluation):
        stopped_early, more = self.last_step < self.setup.total_steps, {}
        if stopped_early:
            state, more["best_step"] = self._go_back(state)
            evaluation = None
        if evaluation is None:  # of other weights, or only the result was missing
            evaluation = self.evaluation.measure(state, lambda: not self.signal_received())
        if evaluation is None:  # the last step is saved
            raise self._interrupted(self.signal_received(), self.last_step)
        clean = evaluation.get(workdir.TRAIN_CLEAN)
        if clean is not None:
            more["train_clean_top1"] = round(clean["top1"], 4)
            if hint := self.evaluation.hint(evaluation):
                self.progress.line(f"\n{hint}")
        self.skipped_images = processes.union(self.skipped_images)
        pace = self.stopwatch.pace() * self.config.batch_size
        result = results.summary(
            self.config,
            evaluation,
            source=self.setup.eval_source,
            devices=self.setup.layout.mesh.devices,
            counts=self.setup.counts,
            step=self.last_step,
            epochs=self._epoch(self.last_step),
            stopped_early=stopped_early,
            # Without compiling, evaluating and saving; nothing where nothing was trained.
            images_per_second=round(pace, 2) or None,
            skipped_images=sorted(self.skipped_images),
            **more,
        )
        result |= rejection.of_run(self.config, self.directory, evaluation, self.setup.num_classes)
        results.write(self.directory, self.setup.source.class_names, result, evaluation)
        return result
