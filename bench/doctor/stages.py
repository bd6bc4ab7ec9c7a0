"""A CPU against the device, stage by stage: images, then losses."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from bench.doctor.finding import Finding
from bench.doctor.trial import IMAGES, device_of, images_for, train, trials
from bench.interfaces.executor import Environment

SIZE = 64
LOSS = 1e-3  # relative, over 9 steps in fp32


def images(environment: Environment) -> Finding:
    """Crops and flips cut by the code for GPUs, on this device: bit for bit; resized ones within a level."""
    from bench.engine.gpu.resident import DeviceStore

    device = device_of(environment)
    here, there = images_for(SIZE, IMAGES, None), images_for(SIZE, IMAGES, DeviceStore(device))
    worst = []
    for host, on_device in zip(here, there, strict=True):
        most = 0
        for plain, table in zip(host.epoch(3), on_device.epoch(3), strict=True):
            cut = on_device.render(*(t.to(device) for t in table))[0].cpu()
            most = max(most, int((cut.int() - plain[0].int()).abs().max()))
        worst.append(most)
    crops, resized = worst
    said = f"crops differ by {crops} grey levels (0 allowed), resized ones by {resized} (1 allowed)"
    return Finding(crops == 0 and resized <= 1, said, figures={"crops": crops, "resized": resized})


def losses(environment: Environment) -> Finding:
    """Three epochs of three steps in fp32 on the CPU and on the device, with random numbers of the CPU."""
    from torch.backends import cudnn

    from bench.engine.device import full_precision
    from bench.engine.gpu.host_random import HostRandom

    differences, problems = {}, []
    on_cpu = replace(environment, device="cpu")
    tf32, cudnn.allow_tf32 = cudnn.allow_tf32, False
    try:
        for trial in trials():
            found = []
            for where in (on_cpu, environment):
                with tempfile.TemporaryDirectory() as folder, HostRandom(), full_precision():
                    done = train(trial, where, Path(folder), epochs=3, precision="fp32", graph=False)
                    found.append(done.history.losses)
            worst = max(abs(b / a - 1) for a, b in zip(*found, strict=True))
            differences[trial.name] = worst
            if worst > LOSS:
                problems.append(f"{trial.name}: losses differ by {worst:.1e}, more than {LOSS:.0e}")
    finally:
        cudnn.allow_tf32 = tf32
    most = max(differences.values())
    said = f"losses of 9 steps differ by at most {most:.1e} ({', '.join(differences)})"
    return Finding(not problems, "; ".join(problems) or said, figures={"differences": differences})
