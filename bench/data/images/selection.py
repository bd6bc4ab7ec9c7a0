"""What a study uses of a data set: an index with other classes, groups and parts. Pure functions on an index.

Each gives another index, says in its `changes` what it did, and keeps `expected` at what is then to be
counted. `bench.data.images.listing` applies them in this order: what a person decided, sources, the external
test set, and classes last, so that they are the same for both data sets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from bench.data.images.index import first_few
from bench.errors import ConfigError, DataError
from bench.interfaces.dataset import Index, Sample
from bench.interfaces.reviewed import Reviewed, ReviewedImage

REST = "*"
"""In a rule of `merge`: every class that is named nowhere else."""

# --- what a person decided ---------------------------------------------------------------------------


def apply_reviewed(index: Index, reviewed: Reviewed, name: str) -> Index:
    """Give images the groups of a reviewed file, and leave out those that it excludes.

    A group of the file and a group of the data set of the same name are one. All groups that share an image
    become one, because a patient on two sides of a split is a greater fault than a group that is too large;
    it has the first name, in alphabetical order, of those that the file gives. Raises DataError for an id
    that the data set does not have.
    """
    images = {image.id: image for image in reviewed.images}
    known = {s.id for s in index.samples}
    if unknown := [id_ for id_ in images if id_ not in known]:
        examples = first_few([s.id for s in index.samples], 2)
        raise DataError(
            f"{reviewed.name}: {len(unknown)} of its {len(images)} ids are no images of {name}: "
            f"{first_few(unknown)}; its ids are like {examples}: correct the file, or set "
            f"dataset.{name}.groups to the file of this copy, or to none"
        )
    links = [
        (images[s.id].group, s.group)
        for s in index.samples
        if s.id in images and images[s.id].group and s.group
    ]
    given = {image.group for image in reviewed.images if image.group}
    names = _joined(links, {*given, *(s.group for s in index.samples if s.group)}, first=given)
    samples = tuple(
        replace(s, group=names[group]) if (group := _given_group(s, images)) else s
        for s in index.samples
        if not (s.id in images and images[s.id].exclude)
    )
    grouped = sum(bool(image.group) for image in reviewed.images)
    left_out = sum(image.exclude for image in reviewed.images)
    change = (
        f"decided by a person ({reviewed.name}, sha256 {reviewed.sha256[:8]}): groups of {grouped} images"
    )
    change += f"; {left_out} images left out" if left_out else ""
    changes = [change, *_kept_whole(links, reviewed.name)]
    return _with_samples(index, samples, changes, reviewed=(*index.reviewed, reviewed))


def _given_group(sample: Sample, images: Mapping[str, ReviewedImage]) -> str:
    """The group that the file gives an image, or the one it has."""
    return (sample.id in images and images[sample.id].group) or sample.group


def _kept_whole(links: Sequence[tuple[str, str]], file: str) -> Iterable[str]:
    """Groups of the data set whose images a file gives several groups, and which stay whole."""
    wanted: dict[str, set[str]] = {}
    for given, own in links:
        wanted.setdefault(own, set()).add(given)
    divided = {own: names for own, names in wanted.items() if len(names) > 1}
    for own, names in list(divided.items())[:5]:
        yield (
            f"{file}: gives the images of {own} the groups {' and '.join(sorted(names))}, which were joined: "
            "a group of the data set is never divided"
        )
    if len(divided) > 5:
        yield f"{file}: the same of {len(divided) - 5} more groups of the data set"


def _joined(
    links: Iterable[tuple[str, str]], names: Collection[str], first: Collection[str]
) -> dict[str, str]:
    """What each of `names` is called once those that are linked are one: by the alphabetically first name
    among `first` in its set, or, if there is none, by its own."""
    from scipy.cluster.hierarchy import DisjointSet

    sets = DisjointSet(sorted(names))
    for one, other in links:
        sets.merge(one, other)
    called: dict[str, str] = {}
    for members in sets.subsets():
        chosen = min(members & set(first), default="")
        called |= {member: chosen or member for member in members}
    return called


# --- sources -----------------------------------------------------------------------------------------


def group_by_source(index: Index, sources: Mapping[str, str]) -> Index:
    """Put all images of a source in one group. Sources that share a group of the data set become one; an
    image whose source is not known keeps the group that it has."""
    own, of_source = "group {}".format, "source {}".format  # a group may be called as a source is
    links = [(of_source(sources[s.id]), own(s.group)) for s in index.samples if s.id in sources and s.group]
    named = {of_source(sources[s.id]) for s in index.samples if s.id in sources}
    called = _joined(links, {*named, *(own(s.group) for s in index.samples if s.group)}, first=named)
    plain = {own(s.group): s.group for s in index.samples}

    def group_of(sample: Sample) -> str:
        if sample.id in sources:
            return called[of_source(sources[sample.id])]
        chosen = called[own(sample.group)] if sample.group else ""
        return plain.get(chosen, chosen)

    samples = tuple(replace(s, group=group_of(s)) for s in index.samples)
    groups = {called[name] for name in named}
    change = f"images are grouped by source: {len(named)} sources"
    if len(groups) < len(named):
        change += f" in {len(groups)} groups, because some share a group of the data set"
    if unknown := sum(s.id not in sources for s in index.samples):
        change += f"; {unknown} images of no known source keep the groups that they have"
    return _with_samples(index, samples, [change])


def without_parts(index: Index) -> Index:
    """Have a split drawn where the data set comes with one."""
    return _with_samples(index, tuple(replace(s, part="") for s in index.samples), _own_parts(index))


def hold_out_sources(index: Index, sources: Mapping[str, str], tested: Sequence[str], name: str) -> Index:
    """Make the images of the sources `tested` the test part, and all others of known source the training
    part.

    Left out, because nothing shows that they are not of a tested source: images whose source is not known,
    and images of other sources that share a group with a tested image. Raises ConfigError for a source that
    no image has, and where nothing is left to train on.
    """
    known = Counter(sources[s.id] for s in index.samples if s.id in sources)
    where = f"dataset.{name}.test_source"
    if unknown := [source for source in tested if source not in known]:
        listed = first_few([f"{source} ({count} images)" for source, count in known.most_common()], 12)
        raise ConfigError(
            f"{where}: no image is of source {', '.join(unknown)}; sources: {listed} (a source whose name "
            "has a comma is given in a list)"
        )
    if set(known) <= set(tested):
        raise ConfigError(f"{where}: names every source, so nothing is left to train on; leave one out")
    tested_groups = {s.group for s in index.samples if s.group and sources.get(s.id) in tested}
    samples, unclear, shared = [], 0, 0
    for sample in index.samples:
        source = sources.get(sample.id)
        if source is None:
            unclear += 1
        elif source in tested:
            samples.append(replace(sample, part="test"))
        elif sample.group in tested_groups:
            shared += 1
        else:
            samples.append(replace(sample, part="train"))
    changes = [f"tested on source {', '.join(tested)}, trained on the others"]
    for count, why in (
        (unclear, "whose source is not known"),
        (shared, "of other sources that share a group with a tested image"),
    ):
        if count:
            changes.append(f"left out: {count} images {why}")
    return _with_samples(index, tuple(samples), [*changes, *_own_parts(index)])


def _own_parts(index: Index) -> list[str]:
    """What is said where a data set has parts of its own."""
    own = any(sample.part for sample in index.samples)
    return ["the split that comes with the data set was not used"] if own else []


# --- external test -----------------------------------------------------------------------------------


def join_external(index: Index, other: Index, name: str) -> Index:
    """Make all of `index` the training part, and all of `other`, the data set `name`, the test part.

    Ids and groups of `other` begin with its name and a slash, so that they are nobody else's. Classes are
    those of both; `check_same_classes` says whether they are the same, once they are merged and chosen. Bits
    of 16-bit files that one of them states hold for both. Raises ConfigError where they state different ones:
    the same value would be another brightness in training than in testing.
    """
    if index.bits and other.bits and index.bits != other.bits:
        raise ConfigError(
            f"{name}, which is tested on, reads its 16-bit files as {other.bits} bits, and the data set that "
            f"is trained on as {index.bits}; give both the same bits, or none to have them found"
        )
    train = tuple(replace(s, part="train") for s in index.samples)
    test = tuple(
        replace(s, id=f"{name}/{s.id}", group=s.group and f"{name}/{s.group}", part="test")
        for s in other.samples
    )
    reviewed = (
        replace(file, images=tuple(replace(image, id=f"{name}/{image.id}") for image in file.images))
        for file in other.reviewed
    )
    expected = Counter(index.expected or _class_counts(index.samples))
    expected.update(other.expected or _class_counts(other.samples))
    version = f"tested on {name}" + (f", {other.version}" if other.version else "")
    return replace(
        index,
        classes=tuple(dict.fromkeys((*index.classes, *other.classes))),
        samples=(*train, *test),
        version=f"{index.version}; {version}" if index.version else version,
        expected=dict(expected) if index.expected or other.expected else {},
        notes=(*index.notes, *(f"{name}: {note}" for note in other.notes)),
        bits=index.bits or other.bits,
        passed_over=dict(Counter(index.passed_over) + Counter(other.passed_over)),
        changes=(
            *index.changes,
            *(f"{name}: {change}" for change in other.changes),
            f"external test: all images of {name}, which is another data set, and no other image",
            *_own_parts(replace(index, samples=(*index.samples, *other.samples))),
        ),
        reviewed=(*index.reviewed, *reviewed),
    )


def check_same_classes(index: Index, name: str, other: str) -> None:
    """Raise ConfigError unless the data set `name`, which trains, and `other`, which tests, have images of
    the same classes."""
    names = {
        part: [c for c in index.classes if c in {s.label for s in index.samples if s.part == part}]
        for part in ("train", "test")
    }
    if set(names["train"]) != set(names["test"]):
        raise ConfigError(
            f"dataset.{name}.test_on: {name} has the classes {', '.join(names['train'])}, {other} has "
            f"{', '.join(names['test'])}; they must be the same: set dataset.{name}.classes to those that "
            f'both have, or rename or join some with dataset.{name}.merge ("NAME=OTHER")'
        )


# --- classes -----------------------------------------------------------------------------------------


def merge_classes(index: Index, rules: Sequence[str], classes: Sequence[str], name: str) -> Index:
    """Let classes become one by rules like "a+b=c", all at once. A new class stands where the first of its
    members stood. `classes` are those that `choose_classes` will keep, which "*" does not stand for. Raises
    ConfigError for a rule that cannot be read, and for a class that is not there or stands in two rules."""
    if not rules:
        return index
    new_name = _mapping(rules, index.classes, classes, f"dataset.{name}.merge")

    def renamed(old: str) -> str:
        return new_name.get(old, old)

    expected: Counter[str] = Counter()
    for old, count in index.expected.items():
        expected[renamed(old)] += count
    return replace(
        index,
        classes=tuple(dict.fromkeys(map(renamed, index.classes))),
        samples=tuple(replace(s, label=renamed(s.label)) for s in index.samples),
        expected=dict(expected),
        changes=(*index.changes, *_said(new_name)),
    )


def _mapping(rules: Sequence[str], known: Sequence[str], kept: Sequence[str], where: str) -> dict[str, str]:
    """Class -> the class that it becomes."""
    mapping: dict[str, str] = {}
    rest = ""
    for rule in rules:
        left, equals, new = (part.strip() for part in rule.partition("="))
        members = [member.strip() for member in left.split("+")]
        if not equals or not new or not all(members) or "=" in new:
            raise ConfigError(f"{where}: {rule!r} must be like a+b=c: classes, and what they become")
        for member in members:
            if member == REST and not rest:
                rest = new
            elif member == REST or member in mapping:
                raise ConfigError(f"{where}: {member} stands on the left twice; let it become one class")
            elif member not in known:
                raise _no_such_class(where, [member], known)
            else:
                mapping[member] = new
    if rest:
        others = [name for name in known if name not in mapping and name not in kept and name != rest]
        if not others:
            raise ConfigError(f"{where}: {REST}={rest}: no class is left that {REST} could stand for")
        mapping |= dict.fromkeys(others, rest)
    return mapping


def _no_such_class(where: str, names: Sequence[str], known: Sequence[str]) -> ConfigError:
    return ConfigError(f"{where}: no class {' and no class '.join(names)}; classes: {', '.join(known)}")


def _said(new_name: Mapping[str, str]) -> Iterable[str]:
    for new in dict.fromkeys(new_name.values()):
        members = [old for old, name in new_name.items() if name == new]
        yield f"class {new} stands for {', '.join(members)}"


def choose_classes(index: Index, classes: Sequence[str], name: str) -> Index:
    """Keep the images of these classes, and the classes in this order. Raises ConfigError for a class that is
    not there or named twice."""
    where = f"dataset.{name}.classes"
    if unknown := [each for each in classes if each not in index.classes]:
        raise _no_such_class(where, unknown, index.classes)
    if double := [each for each, count in Counter(classes).items() if count > 1]:
        raise ConfigError(f"{where}: names {double[0]} twice; name it once")
    if not classes:
        return index
    out = Counter(s.label for s in index.samples if s.label not in classes)
    changes = [f"left out: {count} images of class {label}" for label, count in sorted(out.items())]
    return replace(
        index,
        classes=tuple(classes),
        samples=tuple(s for s in index.samples if s.label in classes),
        expected={label: count for label, count in index.expected.items() if label in classes},
        changes=(*index.changes, *changes),
    )


def check_enough_classes(index: Index, name: str) -> None:
    """Raise ConfigError where merging and choosing classes has left fewer than two."""
    if len(index.classes) < 2:
        raise ConfigError(
            f"dataset.{name}: merge and classes leave {', '.join(index.classes) or 'no class'} alone; two "
            f"are needed (name the classes that {REST} shall not stand for in classes, or as a=a in merge)"
        )


# --- what is left ------------------------------------------------------------------------------------


def _class_counts(samples: Iterable[Sample]) -> Counter[str]:
    return Counter(sample.label for sample in samples)


def _with_samples(
    index: Index,
    samples: tuple[Sample, ...],
    changes: Iterable[str],
    reviewed: tuple[Reviewed, ...] | None = None,
) -> Index:
    """`index` with other samples; those that are gone are not expected any more either."""
    gone = _class_counts(index.samples) - _class_counts(samples)
    return replace(
        index,
        samples=samples,
        expected={label: count - gone[label] for label, count in index.expected.items()},
        changes=(*index.changes, *changes),
        reviewed=index.reviewed if reviewed is None else reviewed,
    )
