"""Ways to come by initial weights: entropy-guided and plain masked autoencoding, controls, ImageNet."""

from collections.abc import Iterable

from bench import Strategy, hookimpl


@hookimpl
def register_strategies() -> Iterable[Strategy]:
    """The paper's method, its controls, and the two ways without pretraining."""
    from bench_strategies import egmae, imagenet, mae, noise, scratch

    return [module.STRATEGY for module in (egmae, mae, noise, imagenet, scratch)]
