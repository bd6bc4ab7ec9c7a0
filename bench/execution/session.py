"""What one process works with: registry, environment, device, and the images it has opened.

A process has one session. It is handed to `execute` with every unit, so that images are listed and opened
once however many units need them, and nothing is remembered anywhere else.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import ConfigError
from bench.execution import provenance, verdict
from bench.execution.exchange import MOST, Exchange
from bench.execution.provenance import Software
from bench.identity import Ref
from bench.interfaces.executor import Environment, Report, Unit, silent
from bench.interfaces.model import Context, within
from bench.registry import Plugin, Registry, installed

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from bench.data.audit.audit import Audit
    from bench.data.images.images import Images
    from bench.engine.gpu.resident import DeviceStore
    from bench.interfaces.dataset import Index
    from bench.results.record import Cost, Provenance
    from bench.study.protocol import AuditSettings


log = logging.getLogger("bench")


class Session:
    """What one process works with. Another process opens its own: `Session(session.environment)`."""

    def __init__(self, environment: Environment, registry: Registry | None = None) -> None:
        self.environment = environment
        self.registry = registry or installed()
        self._indexes: dict[Ref, Index] = {}
        self._images: dict[tuple[Ref, str], Images] = {}  # by data set, and folder of a pool or ""
        self._costs: dict[tuple[Ref, int, int], Cost] = {}

    # --- images --------------------------------------------------------------------------------------

    def images(self, dataset: Ref, short_sides: Sequence[int], report: Report = silent) -> Images:
        """The images of a data set, with a view at each of these short sides.

        The data set is listed once per session. Decodes what the image store lacks, which `report` hears of.
        Raises DataNotFound if the data set is not there, DataError if its index or a file cannot be used,
        PluginError naming the plugin if the listing fails.
        """
        return self._opened(dataset, "", short_sides, report)

    def index(self, dataset: Ref) -> Index:
        """The list of images of a data set, made once per session. Raises as `images` does."""
        if dataset not in self._indexes:
            self._indexes[dataset] = self.exchange.find("index", dataset) or self._list(dataset)
        return self._indexes[dataset]

    def with_pool(
        self, dataset: Ref, folder: str, short_sides: Sequence[int], report: Report = silent
    ) -> Images:
        """The images of a data set, then those of a folder without labels, with a view at each of these short
        sides. Raises as `images` does, and ConfigError for a folder that cannot be used."""
        return self._opened(dataset, folder, short_sides, report)

    def _opened(self, dataset: Ref, pool: str, short_sides: Sequence[int], report: Report) -> Images:
        from bench.data.images.images import open_images
        from bench.data.images.pool import UNITED, united_index

        known = self._images.get((dataset, pool))
        wanted = set(short_sides) | (known.views.keys() if known else set())
        if known and wanted == known.views.keys():
            return known
        name, index = dataset.name, self.index(dataset)
        if pool:
            own = self._opened(dataset, "", short_sides, report)  # both stages need one range of brightness
            index = replace(index, bits=index.bits or own.bits or 0)
            name, index = f"{name}{UNITED}", united_index(index, Path(pool))
        opened = open_images(name, index, self.environment, sorted(wanted), report)
        if not known and self.environment.exchange is None:  # not from every worker
            alone = self._images.get((dataset, ""))
            _warn_of_unreadable(opened, alone.unreadable if alone else {})
        self._images[dataset, pool] = opened
        return opened

    def audited_with_pool(
        self,
        dataset: Ref,
        folder: str,
        settings: AuditSettings,
        short_sides: Sequence[int],
        report: Report = silent,
    ) -> tuple[Images, Audit]:
        """The same images and their audit, made now unless it is stored."""
        from bench.data.audit.search import SHORT

        united = self.with_pool(dataset, folder, (*short_sides, SHORT), report)
        return self._audited(united, settings, report, with_probes=False)  # images without a class

    @property
    def exchange(self) -> Exchange:
        """What other processes of this command have found out."""
        return Exchange(self.environment.exchange)

    def leave_indexes(self) -> None:
        """Leave how data sets are listed to other processes of this command. Not one that holds many images
        itself, which would have to be copied."""
        for dataset, index in self._indexes.items():
            held = sum(sample.array.nbytes for sample in index.samples if sample.array is not None)
            if held <= MOST:
                self.exchange.leave(index, "index", dataset)

    def _list(self, dataset: Ref) -> Index:
        from bench.data.images.listing import list_images

        return list_images(dataset, self.registry, self.environment.data)

    def sources(self, dataset: Ref) -> dict[str, str]:
        """Where the images of a data set come from, by id; empty where it does not say.

        Raises what its plugin raises on purpose, PluginError naming the plugin if it fails otherwise.
        """
        from bench.data.images.listing import list_sources

        return list_sources(dataset, self.registry, self.environment.data)

    def audited(
        self, dataset: Ref, settings: AuditSettings, short_sides: Sequence[int] = (), report: Report = silent
    ) -> tuple[Images, Audit]:
        """The images of a data set and their audit, made now unless it is stored. Raises as `images` does."""
        from bench.data.audit.search import SHORT

        return self._audited(self.images(dataset, (*short_sides, SHORT), report), settings, report)

    def _audited(
        self, images: Images, settings: AuditSettings, report: Report, with_probes: bool = True
    ) -> tuple[Images, Audit]:
        from bench.data.audit.audit import stored_audit

        propose = partial(self._embedded_neighbours, images, settings.embed) if settings.embed else None
        environment = self.environment
        threads, results = environment.threads, environment.results
        audit = stored_audit(results, images, settings, threads, propose, report, with_probes)
        return images, audit

    def _embedded_neighbours(self, images: Images, name: str) -> NDArray[np.int64]:
        """Pairs of images that the model `name`, with its own ImageNet weights, places close together."""
        from bench.data.audit.search import SHORT
        from bench.engine.embedding import INPUT, nearest

        model = self.registry.models.get(name)
        params = model.params()
        source = model.pretrained_source(params)
        if model.features is None or model.pretrained is None or not source:
            raise ConfigError(
                f"audit.embed {name}: this model has no dense features or no ImageNet weights on this "
                "machine; name another one"
            )
        context = Context(classes=images.classes, size=INPUT, normalization=model.normalization(params))
        net = model.build(params, context)
        classifier = model.classifier(net)
        state = model.translate(net, model.pretrained(net, params, source).state)
        net.load_state_dict({k: v for k, v in state.items() if not within(k, classifier)}, strict=False)
        device = self.configure_device()
        net.to(device).eval()
        return nearest(images.view(SHORT), partial(model.features, net), context, device)

    # --- device --------------------------------------------------------------------------------------

    def configure_device(self, unit: Unit | None = None) -> torch.device:
        """Set this process up for reproducible work on the environment's device, with the threads of this
        unit, and return it."""
        from bench.engine.device import configure

        threads = self.environment.threads_of(unit) if unit else self.environment.threads
        return configure(self.environment.device, threads)

    @cached_property
    def device_store(self) -> DeviceStore | None:
        """Images that lie on the device; None on a CPU, where batches are cut on the host."""
        from bench.engine.device import check_device
        from bench.engine.gpu.resident import DeviceStore

        device = check_device(self.environment.device)
        if device.type == "cpu":
            return None
        return DeviceStore(device, processes=self.at_once)

    @property
    def at_once(self) -> int:
        """Units that this command has at work on the device at most."""
        return -(-self.environment.jobs // (len(self.environment.devices) or 1))

    def free_device_memory(self) -> None:
        """After memory ran out: let go of the images kept on the device, and of what PyTorch holds unused."""
        from bench.engine.device import check_device, free_memory

        if self.device_store is not None:
            self.device_store.clear()
        free_memory(check_device(self.environment.device))

    # --- about records -------------------------------------------------------------------------------

    def cost(self, model: Ref, classes: int, size: int) -> Cost:
        """What the model costs at this size, counted once per session, or by another of this command."""
        from bench.cost.count import count_cost

        about = model, classes, size
        if about not in self._costs and (known := self.exchange.find("cost", *about)):
            self._costs[about] = known
        if about not in self._costs:
            context = Context(classes=tuple(map(str, range(classes))), size=size)
            models = self.registry.models
            net = models.get(model.name).build(models.params(model), context)
            self._costs[about] = count_cost(net, size)
            self.exchange.leave(self._costs[about], "cost", *about)
        return self._costs[about]

    def provenance(self, plugins: Iterable[Plugin], unit: Unit | None = None) -> Provenance:
        """How a record of this unit made now, with components of these plugins, came to be."""
        hardware = self.hardware_of(unit) if unit else self.hardware
        return provenance.describe(plugins, hardware, self._software)

    @cached_property
    def hardware(self) -> dict[str, str | int]:
        """What the session runs on."""
        environment = self.environment
        return provenance.hardware(environment.device) | {"threads": environment.threads}

    def hardware_of(self, unit: Unit) -> dict[str, str | int]:
        """What this unit runs on."""
        return self.hardware | {"threads": self.environment.threads_of(unit)}

    @cached_property
    def doctor(self) -> str:
        """The verdict of `bench doctor` on the GPU of this session; empty on a CPU."""
        return verdict.cited(self.environment.device)

    @cached_property
    def _software(self) -> Software:
        return provenance.software()


def _warn_of_unreadable(images: Images, said: Mapping[str, str]) -> None:
    """Warn of the images that were left out, but for those that were `said`."""
    from bench.data.images.index import first_few

    if left_out := [id_ for id_ in images.unreadable if id_ not in said]:
        log.warning(
            "%s: %d of %d images cannot be decoded and are left out (--on-bad-image skip): %s; "
            "`bench data verify` says why",
            images.dataset,
            len(left_out),
            len(images) + len(images.unreadable),
            first_few(left_out),
        )
