"""Conformance checks for plugin authors: call them from your own tests.

    from bench.testing import check_strategy
    from my_package import MY_STRATEGY

    def test_it_conforms():
        check_strategy(MY_STRATEGY)

Each raises AssertionError, with a message that names the component and the promise it breaks. What is checked
is what the core relies on; the docstring of each check lists it.
"""

from bench.testing.component import check_component
from bench.testing.dataset import check_dataset
from bench.testing.ensemble import check_ensemble
from bench.testing.executor import check_executor
from bench.testing.metric import check_metric
from bench.testing.model import check_model, check_model_family
from bench.testing.reporter import check_reporter
from bench.testing.strategy import check_strategy
from bench.testing.tracker import check_tracker

__all__ = [
    "check_component",
    "check_dataset",
    "check_ensemble",
    "check_executor",
    "check_metric",
    "check_model",
    "check_model_family",
    "check_reporter",
    "check_strategy",
    "check_tracker",
]
