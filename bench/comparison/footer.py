"""What must be said around a table so that its numbers can be read: its protocol, and its footer."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from bench.comparison.labels import labelled_images, labels_text
from bench.comparison.rows import chosen, labels, row_id
from bench.comparison.scored import ScoredUnit
from bench.data.audit.verdict import nothing_apart
from bench.identity import to_json
from bench.interfaces.rows import Column, Row, Uncertainty
from bench.study.spec import EnsembleSpec, RunSpec, share_of
from bench.text import by_kind

LEAST = 3  # rounds, below which there is no verdict
FEW = 5  # rounds, below which a verdict is marked


def protocol_text(group: Sequence[ScoredUnit]) -> str:
    """What all rows of a table share, in a line."""
    return settings_text(group) + _origin(group)


def settings_text(group: Sequence[ScoredUnit]) -> str:
    """The same without which images these were and how they were split."""
    spec = group[0].spec
    runs = spec.members if isinstance(spec, EnsembleSpec) else (spec,)
    texts = []
    for run in runs:
        text = f"{run.size} px, precision {run.precision}, seed {run.seed}"
        if isinstance(run, RunSpec):
            text += f", fine-tuning {run.finetune.epochs} epochs of batch {run.finetune.batch}"
            set_ = {k: v for k, v in to_json(run.finetune).items() if k not in ("epochs", "batch", "share")}
            text += "".join(f", {name} {value}" for name, value in set_.items())
        texts.append(text)
    labelled = labels_text(group)
    return (f"{labelled}, " if labelled else "") + "; ".join(dict.fromkeys(texts))


def _origin(group: Sequence[ScoredUnit]) -> str:
    """Which images and how they were split; without it two tables of one data set could look alike."""
    whole = next((unit for unit in group if unit.content), group[0])
    splits = sorted({unit.spec.split for unit in group})
    text = f", split {whole.split}" if whole.split else ""
    text += f", images {whole.content[:8]}" if whole.content else ""
    return text + (f", manifest {splits[0][:8]}" if len(splits) == 1 and splits[0] else "")


def footer(group: Sequence[ScoredUnit], rows: Sequence[Row], sources: Sequence[str]) -> tuple[str, ...]:
    """Lines that say what the numbers are, and what they are not."""
    lines = [*_rounds(rows), *_images(group), *_passed_over(group), *_changes(group), *audit_lines(group)]
    lines += [*_missing(group), *_notes(group)]
    lines += [*_precision(group), *_hardware(group), *_settings(group)]
    lines += _costs(group, rows)
    if sources:
        lines.append(
            f"Reported rows are a publication's own numbers ({', '.join(sources)}), from other splits and "
            "another protocol: they stand beside ours, they do not compete."
        )
    return tuple(lines)


def evidence_lines(
    rows: Sequence[Row],
    columns: Sequence[Column],
    uncertainty: Uncertainty,
    primary: str,
    group: Sequence[ScoredUnit],
) -> list[str]:
    """What stands beside the means of a table's own rows, what was tested, and what was not."""
    values = [value for row in rows for value in row.values.values()]
    rounds = max((row.rounds_done for row in rows), default=0)
    lines = []
    if uncertainty == "interval" and any(value.low is not None for value in values):
        lines.append(
            "In brackets: 95 % interval of the mean, from test images (resampled in groups, for all rows and "
            "rounds at once) and from what rounds differ by beyond that (docs/evidence.md)."
        )
        if rounds == 1:
            lines.append("One round: the intervals are of these trained models, not of their methods.")
        elif all(unit.record.data.fixed for unit in group if unit.record.data):
            lines.append(
                "The data set fixes its parts, so that all rounds have the same test images: intervals and "
                "tests hold for this training set."
            )
    if uncertainty == "sd" and any(value.spread is not None for value in values):
        lines.append("Mean ± sample standard deviation over rounds; every round has its own split.")
    if any(value.best is not None for value in values):
        few = f"; {rounds} rounds are few for that" if rounds < FEW else ""
        lines.append(
            "Marked: the best of a column and what is not shown to differ from it, by tests of all pairs of "
            f"rows, adjusted by Holm's method at 5 %{few}."
        )
    elif len(rows) > 1 and 0 < rounds < LEAST:
        lines.append(
            f"Nothing is tested with {rounds} round{'s' * (rounds != 1)}: the mark is on the best mean alone."
        )
    named = [column.title for column in columns if column.name == primary]
    if named:
        lines.append(f"Primary metric, as declared: {named[0]}. All other columns are exploratory.")
    return lines


def _rounds(rows: Sequence[Row]) -> Iterator[str]:
    own = [row for row in rows if row.kind != "reported"]
    if len({row.rounds_done for row in own if row.rounds_done}) > 1:
        yield "Rows of fewer rounds are means of the rounds they have, so of other test images."


def _images(group: Sequence[ScoredUnit]) -> Iterator[str]:
    """Sizes of the parts, as means over the rounds."""
    by_round = {unit.spec.round: unit.counts for unit in group if unit.counts}
    if not by_round:
        return
    parts = {
        part: sum(sum(n[0] for n in counts.get(part, {}).values()) for counts in by_round.values())
        for part in next(iter(by_round.values()))
    }
    sizes = ", ".join(f"{total / len(by_round):.4g} {part}" for part, total in parts.items())
    shares = {share_of(unit.spec) for unit in group if unit.spec.kind != "pretrain"}
    labelled = labelled_images(group) if len(shares) == 1 != max(shares) else None
    seen = "" if labelled is None else f"; fine-tuning saw {labelled:.4g} of the training images"
    yield f"Images per round (mean of {len(by_round)}): {sizes}{seen}."


def _changes(group: Sequence[ScoredUnit]) -> Iterator[str]:
    """What the study chose, joined and left out of the data set."""
    known = (change for unit in group if unit.record.data for change in unit.record.data.changes)
    if changes := list(dict.fromkeys(known)):
        yield f"The data set as it was used: {'; '.join(changes)}."


def _passed_over(group: Sequence[ScoredUnit]) -> Iterator[str]:
    """What lay among the images and was none of them."""
    counts: dict[str, int] = {}
    for unit in group:
        for kind, count in (unit.record.data.passed_over if unit.record.data else {}).items():
            counts[kind] = max(count, counts.get(kind, 0))
    if counts:
        yield f"Passed over among the files of the images: {by_kind(counts)}."


def audit_lines(group: Sequence[ScoredUnit]) -> Iterator[str]:
    """Which audit the splits passed, or what it says they leak."""
    by_round = {unit.spec.round: unit.audit for unit in group if unit.counts}
    if unaudited := {round_ for round_, verdict in by_round.items() if not verdict}:
        yield f"Not audited for leaks: {_listed(unaudited)} (the split is older than audits)."
    verdicts = {round_: verdict for round_, verdict in sorted(by_round.items()) if verdict}
    for audit in dict.fromkeys(verdict.audit for verdict in verdicts.values()):
        of_it = {round_: verdict for round_, verdict in verdicts.items() if verdict.audit == audit}
        leaking = {round_: verdict for round_, verdict in of_it.items() if verdict.leaks}
        text = f"Audit {audit[:8]} ({next(iter(of_it.values())).search}): "
        if leaking:
            leaked = ", ".join(
                f"{verdict.leaked} of {_evaluated(group, round_)} in round {round_}"
                for round_, verdict in leaking.items()
            )
            text += (
                "THE SPLIT LEAKS: validation and test images with a near-duplicate or group mate on another "
                f"side: {leaked}."
            )
        else:
            text += f"{nothing_apart(list(of_it.values()))}."
        conflicts = max(verdict.label_conflicts for verdict in of_it.values())
        kept_out = max(verdict.kept_out for verdict in of_it.values())
        if conflicts:
            text += f" Up to {conflicts} validation and test images have a duplicate of another label."
        elif kept_out:
            text += (
                f" {kept_out} images whose duplicates carry another label are neither validated nor tested "
                "on."
            )
        yield text
        for remark in dict.fromkeys(remark for verdict in of_it.values() for remark in verdict.remarks):
            yield f"Audit {audit[:8]}: {remark}."


def _evaluated(group: Sequence[ScoredUnit], round_: int) -> int:
    """Validation and test images of a round."""
    counts = next(unit.counts for unit in group if unit.spec.round == round_ and unit.counts)
    return sum(images for part in ("val", "test") for images, *_ in counts.get(part, {}).values())


def _missing(group: Sequence[ScoredUnit]) -> Iterator[str]:
    lacking: dict[str, set[int]] = defaultdict(set)
    for unit in group:
        for name, (images, *_) in unit.counts.get("test", {}).items():
            if not images:
                lacking[name].add(unit.spec.round)
    for name, rounds in lacking.items():
        yield (
            f"No test image of class {name} in {_listed(rounds)}; `bench show METRIC` says what a metric "
            "that averages over classes does then."
        )


def _notes(group: Sequence[ScoredUnit]) -> Iterator[str]:
    """Notes of the records, each once, with the rounds it is about."""
    rounds: dict[str, set[int]] = defaultdict(set)
    for unit in group:
        for note in unit.record.notes:
            rounds[note].add(unit.spec.round)
    everywhere = {unit.spec.round for unit in group}
    for note, where in rounds.items():
        yield note if where == everywhere else f"{note} ({_listed(where)})"


def _precision(group: Sequence[ScoredUnit]) -> Iterator[str]:
    """Rows that share the setting and yet not the arithmetic."""
    runs = [unit for unit in group if isinstance(unit.spec, RunSpec) and unit.spec.precision == "auto"]
    devices = [unit.record.provenance.device for unit in runs]
    on_gpu = {device.startswith("cuda") for device in devices if device}
    if len(on_gpu) > 1:
        yield (
            "Some of these were trained on a GPU, in bf16, and some on a CPU, in fp32, as precision auto "
            "means there; --set protocol.precision=fp32 (or bf16) trains all alike."
        )


def _hardware(group: Sequence[ScoredUnit]) -> Iterator[str]:
    """Rows that were computed on other kinds of device, or with another number of threads."""
    runs = [unit for unit in group if isinstance(unit.spec, RunSpec) and unit.status == "done"]
    names = labels(unit.spec for unit in runs)
    rows: dict[str, dict[str, None]] = defaultdict(dict)
    for unit in runs:
        if used := unit.record.provenance.arithmetic:
            label = names[row_id(unit.spec)]
            rows[used][f"{label.model} {label.method}"] = None
    if len(rows) < 2:
        return
    listed = "; ".join(f"{used}: {', '.join(sorted(those))}" for used, those in sorted(rows.items()))
    yield (
        "Not all of these were computed alike, and rounding that differs can grow in training until accuracy "
        f"differs by points: {listed}."
    )


def _listed(rounds: set[int]) -> str:
    return f"round{'s' * (len(rounds) > 1)} {', '.join(map(str, sorted(rounds)))}"


def _settings(group: Sequence[ScoredUnit]) -> Iterator[str]:
    """Parameters that are not at their default, and pretraining budgets."""
    seen: dict[str, None] = {}
    transductive: set[str] = set()
    for spec in (unit.spec for unit in group if not isinstance(unit.spec, EnsembleSpec)):
        if set_ := chosen(spec):
            seen[f"{spec.model.name} {spec.strategy.name}: {', '.join(set_)}"] = None
        start = spec.start if isinstance(spec, RunSpec) else spec
        if start:
            seen[f"pretraining {start.pretrain.epochs} epochs of batch {start.pretrain.batch}"] = None
            if start.pretrain.data == "all":
                transductive.add(spec.strategy.name)
    if seen:
        yield f"Settings: {'; '.join(sorted(seen))}."
    if transductive:
        yield (
            f"Transductive: {', '.join(sorted(transductive))} saw the test images, without labels, "
            "in pretraining (pretrain.data = all)."
        )


def _costs(group: Sequence[ScoredUnit], rows: Sequence[Row]) -> Iterator[str]:
    if all(row.gmacs is None for row in rows if row.kind != "reported"):
        return
    text = "GMACs: billions of multiply-adds (one each) for one image, counted by fvcore"
    if any(row.kind == "ensemble" for row in rows):
        text += "; an ensemble costs the sum of its members"
    costs = [unit.record.cost for unit in group if unit.record.cost]
    skipped: Counter[str] = Counter()
    for part in (part for cost in costs for part in cost.skipped):
        skipped[part.operator.partition("::")[2]] += part.operations
    # Arithmetic on shapes is traced too, but takes no operation on any image.
    names = [name for name, operations in skipped.most_common() if operations]
    if names:
        share = max(cost.skipped_share or 0.0 for cost in costs)
        listed = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        text += f"; it does not count {listed} (about {share:.1%} of all operations)"
    yield text + "."
