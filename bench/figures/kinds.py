"""The names of the kinds of figures, apart from what draws them, so that completion need not load that."""

from __future__ import annotations

ABOUT = {
    "forest": "means with their intervals, and differences to the baseline",
    "ranks": "how probable each rank of each row is",
    "roc": "ROC curves, mean over classes",
    "roc-classes": "ROC curves of each class against the rest",
    "precision-recall": "precision-recall curves, mean over classes",
    "precision-recall-classes": "precision-recall curves of each class against the rest",
    "confusion": "confusion matrices: percent of each true class, and images",
    "reliability": "reliability diagrams before and after temperature scaling",
    "decision": "decision curves of each class: net benefit by threshold",
    "gmacs": "the metric against operations for one image",
    "seconds": "the metric against training time",
    "learning-pretraining": "loss of every pretraining, by epoch",
    "learning-finetuning": "loss of every fine-tuning, by epoch",
    "learning-validation": "validation accuracy by epoch, where weights were chosen by it",
    "shares": "the metric by the share of labels that fine-tuning saw",
    "epochs": "the metric by epochs of pretraining and fine-tuning",
    "ablation": "one method by epochs, a line a data set: the paper's Figure 2",
    "critical": "critical difference diagram over six data sets or more",
}
