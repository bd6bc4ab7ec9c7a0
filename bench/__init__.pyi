"""The public names of `bench` and where they are; read by lazy_loader when one is first used."""

from .api import (
    load_results,
    local_environment,
    measure_model,
    plan,
    prepare_training,
    render,
    run,
    tables,
    write_report,
)
from .child import Child, load_for_children, watched
from .cost.model_cost import ModelCost
from .data.images.image_files import is_dicom_file, is_image_file, masks_of, names_mask, without_masks
from .engine.device import any_order
from .errors import (
    BenchError,
    ConfigError,
    DataError,
    DataNotFound,
    PluginError,
    SizeError,
    SplitError,
    StoreError,
    TrainingError,
    UnknownName,
    WeightsError,
)
from .evidence.areas import average_precision, roc_area
from .execution.gpu_sharing import mps_runs, warn_of_turns
from .execution.memory import available_memory
from .execution.plan import Plan
from .execution.prepare import Setup, Training
from .execution.session import Session
from .hookspecs import hookimpl
from .interfaces import cells
from .interfaces.component import Component, LocalWeights, NoParams
from .interfaces.dataset import Archive, Dataset, Index, Sample
from .interfaces.ensemble import Combine, Ensemble, Fitted
from .interfaces.executor import (
    Environment,
    Execute,
    Executor,
    Outcome,
    Progress,
    Report,
    Unit,
    silent,
)
from .interfaces.image_weights import ImageWeights
from .interfaces.metric import Metric
from .interfaces.model import Context, Encoder, Model, ModelFamily, Normalization, Weights
from .interfaces.predictions import Predictions
from .interfaces.progress_text import print_progress
from .interfaces.reporter import Reporter, Table, Tables
from .interfaces.rows import Column, Estimate, Rank, Row
from .interfaces.strategy import Revealing, Strategy
from .interfaces.tracker import (
    EpochEnded,
    Event,
    StudyBegan,
    StudyEnded,
    Tell,
    TrackedUnit,
    Tracker,
    UnitBegan,
    UnitDone,
    UnitFailed,
)
from .interruption import SIGNALS, interrupt
from .page import html_page
from .results.results import Results
from .study.spec import EnsembleSpec, PretrainSpec, RunSpec
from .study.study import Study

__version__: str

__all__ = [
    "SIGNALS",
    "Archive",
    "BenchError",
    "Child",
    "Column",
    "Combine",
    "Component",
    "ConfigError",
    "Context",
    "DataError",
    "DataNotFound",
    "Dataset",
    "Encoder",
    "Ensemble",
    "EnsembleSpec",
    "Environment",
    "EpochEnded",
    "Estimate",
    "Event",
    "Execute",
    "Executor",
    "Fitted",
    "ImageWeights",
    "Index",
    "LocalWeights",
    "Metric",
    "Model",
    "ModelCost",
    "ModelFamily",
    "NoParams",
    "Normalization",
    "Outcome",
    "Plan",
    "PluginError",
    "Predictions",
    "PretrainSpec",
    "Progress",
    "Rank",
    "Report",
    "Reporter",
    "Results",
    "Revealing",
    "Row",
    "RunSpec",
    "Sample",
    "Session",
    "Setup",
    "SizeError",
    "SplitError",
    "StoreError",
    "Strategy",
    "Study",
    "StudyBegan",
    "StudyEnded",
    "Table",
    "Tables",
    "Tell",
    "TrackedUnit",
    "Tracker",
    "Training",
    "TrainingError",
    "Unit",
    "UnitBegan",
    "UnitDone",
    "UnitFailed",
    "UnknownName",
    "Weights",
    "WeightsError",
    "any_order",
    "available_memory",
    "average_precision",
    "cells",
    "hookimpl",
    "html_page",
    "interrupt",
    "is_dicom_file",
    "is_image_file",
    "load_for_children",
    "load_results",
    "local_environment",
    "masks_of",
    "measure_model",
    "mps_runs",
    "names_mask",
    "plan",
    "prepare_training",
    "print_progress",
    "render",
    "roc_area",
    "run",
    "silent",
    "tables",
    "warn_of_turns",
    "watched",
    "without_masks",
    "write_report",
]
