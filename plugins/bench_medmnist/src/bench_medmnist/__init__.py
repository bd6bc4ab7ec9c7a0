"""The 2D data sets of MedMNIST+ for bench. Thin, because `bench list` imports it: what is heavy is imported
inside the functions of `offers`."""

from bench import Dataset, hookimpl
from bench_medmnist.offers import offer
from bench_medmnist.sources import SOURCES


@hookimpl
def register_datasets() -> list[Dataset]:
    return [offer(source) for source in SOURCES]
