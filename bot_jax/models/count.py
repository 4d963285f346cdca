"""Parameters and multiply-accumulates (MACs) of a model, without computing anything."""

import dataclasses
import math

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Counts:
    """The size of a model.

    Attributes:
      parameters: trainable numbers; running statistics are not among them.
      macs: multiply-accumulates of convolutions and matrix products for one image. Papers
        print this as "FLOPs"; some print twice this.
    """

    parameters: int
    macs: int


def count(model, input_size: int) -> Counts:
    """Counts the parameters and MACs of a model for one `input_size` x `input_size` image.

    The model is traced with abstract values; multiplications with padding zeros count, as
    everywhere. Batch norm, pooling and additions do not.
    """
    images = jax.ShapeDtypeStruct((1, input_size, input_size, 3), jnp.float32)
    # Initialising runs the forward pass as well, so that one trace gives both numbers.
    jaxpr, variables = jax.make_jaxpr(
        lambda x: model.init(jax.random.key(0), x, train=False), return_shape=True
    )(images)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    return Counts(parameters, count_macs(jaxpr.jaxpr))


def count_macs(jaxpr) -> int:
    """Sums the MACs of the convolutions and matrix products of a jaxpr and all inside it."""
    return sum(_equation_macs(equation) for equation in jaxpr.eqns)


def _equation_macs(equation):
    params = equation.params
    match equation.primitive.name:
        case "conv_general_dilated":
            # The kernel holds k * k * (in / feature groups) weights an output channel.
            kernel = equation.invars[1].aval
            out_channels = kernel.shape[params["dimension_numbers"].rhs_spec[0]]
            return equation.outvars[0].aval.size * kernel.size // out_channels
        case "dot_general":
            (contracting, _), _ = params["dimension_numbers"]
            left = equation.invars[0].aval
            return equation.outvars[0].aval.size * math.prod(left.shape[i] for i in contracting)
        case "cond":
            return max(map(count_macs, _inner_jaxprs(params)))
        case "scan":
            return params["length"] * sum(map(count_macs, _inner_jaxprs(params)))
        case _:
            return sum(map(count_macs, _inner_jaxprs(params)))


def _inner_jaxprs(params):
    """The jaxprs among the parameters of an equation (of a jit, a custom derivative, ...)."""
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if hasattr(item, "eqns"):
                yield item
