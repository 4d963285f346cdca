"""Exact evaluation of this project, from files to the sums: a worker of the benchmark."""

import dataclasses

import jax
import ours
import worker

from bot_jax import parallel
from bot_jax.data.source import make_source
from bot_jax.evaluate import make_evaluate
from bot_jax.huge_pages import use_huge_pages
from bot_jax.setup import make_model
from bot_jax.state import initial_variables


def main():
    """Builds the step, evaluates once, and serves."""
    flags = worker.parse_flags(__doc__)
    config = ours.make_config(flags)
    source = make_source(config.data, "train")
    source = dataclasses.replace(source, num_examples=flags.units * flags.batch)
    model, _ = make_model(config, len(source.class_names))
    layout = parallel.evaluation_layout(flags.batch)
    create = jax.jit(
        lambda: initial_variables(model, flags.image_size, seed=0),
        compiler_options={"xla_backend_optimization_level": 0},
    )
    variables = parallel.replicate(create(), layout)
    _, evaluate = make_evaluate(config, model, source, layout)

    def run():
        evaluate(variables)

    run()
    worker.serve(run)


if __name__ == "__main__":
    use_huge_pages()  # as bot_jax.main does
    main()
