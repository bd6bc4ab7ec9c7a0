"""The functions that answer a checklist's items, by the names that its file gives them.

An answer is made of sentences of the methods text. A sentence with a gap in it is no answer but a thing that
remains to be written, so an item is answered as far as the records go, and no further.
"""

from __future__ import annotations

from bench.manuscript import data_answers, evaluation_answers, model_answers
from bench.manuscript.answer import AnswerOf

_FUNCTIONS: tuple[AnswerOf, ...] = (
    data_answers.class_distribution,
    data_answers.data_sharing,
    data_answers.data_sources,
    data_answers.data_use,
    data_answers.disjointness,
    data_answers.numbers,
    data_answers.outcome,
    data_answers.partitions,
    data_answers.per_analysis,
    data_answers.predictors,
    data_answers.preprocessing,
    data_answers.quality,
    data_answers.same_source,
    data_answers.subsets,
    evaluation_answers.internal_testing,
    evaluation_answers.metrics,
    evaluation_answers.output,
    evaluation_answers.performance,
    evaluation_answers.predictions,
    evaluation_answers.uncertainty,
    model_answers.availability,
    model_answers.code_sharing,
    model_answers.ensembling,
    model_answers.initialization,
    model_answers.model,
    model_answers.model_building,
    model_answers.protocol,
    model_answers.selection,
    model_answers.software,
    model_answers.training,
)
ANSWERS = {function.__name__: function for function in _FUNCTIONS}
