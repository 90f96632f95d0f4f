"""Train the prior that needs no data: a small DDPM of 48x48 patches, on endless dead leaves that are drawn on the way.

    torchrun --nproc-per-node 2 -m scripts.train_leaves_prior FOLDER --minutes 50

Each process uses one core, which is faster than several threads of one process where other programs run.
Each call trains for so many minutes and continues where the last call stopped; the learning rate falls to 0 over
`--total` minutes of all calls together. FOLDER holds state.safetensors, from which a call continues, and log.jsonl,
with the PSNR of one-step denoising on drawn leaves and, for information only, on two of scikit-image's photographs. No
photograph is trained on, and none selects a model: the averaged weights at the end are the prior.
`python -m scripts.make_leaves_run FOLDER` makes the reference run of it.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dipddpm.core.compute import checkpoint
from dipddpm.core.compute.distributed import ProcessGroup, join_process_group
from dipddpm.core.compute.rng import derive
from dipddpm.core.config import DdpmConfig
from dipddpm.core.data import leaves
from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.ema import Ema
from dipddpm.core.ddpm.networks.unet import UNet
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.images import to_model, to_unit

SIDE = 48
"""The side of a patch."""
CHANNELS = (64, 96, 128)
OPTIONS = DdpmConfig(
    network="unet",
    schedule="cosine",
    objective="v",
    batch_size=16,
    lr=1e-3,
    warmup=500,
    decay="cosine",
    clip=1.0,
    ema=0.999,
    precision="bfloat16",
    stratified=True,
    samples=0,
)
POOL = 150
"""The number of pictures that patches are cut from at a time."""
RENEWED_EVERY = 16
"""The number of steps after which the oldest picture is replaced by a new one."""
SIGMAS = (1.5, 300.0)
"""The noise levels, in grey levels, that get most of the training, evenly in their logarithm."""
UNIFORM_SHARE = 0.15
"""The share of training patches whose timestep is drawn from all timesteps, as in Ho et al. 2020."""
LOG_EVERY = 500
"""The number of steps between two measurements."""
CHECKPOINT_SECONDS = 120


class Training:
    """The network, its averaged weights and all that a later call needs to continue."""

    def __init__(self, folder: Path, total_minutes: float, group: ProcessGroup) -> None:
        self.folder, self.total, self.group = folder, 60 * total_minutes, group
        torch.manual_seed(derive(0, "leaves"))
        self.network = untrained_network()
        self.network.to(memory_format=torch.channels_last)
        self.schedule = Schedule.from_config(OPTIONS)
        self.ema = Ema(self.network, OPTIONS.ema)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=OPTIONS.lr, fused=True)
        self.step, self.seconds = 0, 0.0
        if (folder / "state.safetensors").exists():
            state = checkpoint.load_state(folder / "state.safetensors")
            self.network.load_state_dict(state["network"])
            self.ema.load_state_dict(state["ema"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds = state["step"], state["seconds"]
        self.forward = group.wrap(self.network)
        # Each process draws pictures of its own, and a continued training draws other pictures than the call before.
        seed = derive(self.step, f"leaves of {group.rank}")
        self.rng, self.generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
        self.pictures = [leaves.dead_leaves(self.rng) for _ in range(POOL)]
        self.held_out = held_out()

    def run(self, seconds: float) -> None:
        """Train for so many seconds, or until the total is reached."""
        began, clock, saved, losses = self.seconds, time.perf_counter(), time.perf_counter(), []
        while self.seconds < min(self.total, began + seconds):
            losses.append(self._update())
            self.seconds = self.group.broadcast(began + time.perf_counter() - clock, torch.device("cpu"))
            if self.group.rank == 0 and self.step % LOG_EVERY == 0:
                self._log(float(np.mean(losses)))
                losses.clear()
            if self.group.rank == 0 and time.perf_counter() - saved > CHECKPOINT_SECONDS:
                self._save()
                saved = time.perf_counter()
        if self.group.rank == 0:
            self._save()

    def _update(self) -> float:
        if self.step % RENEWED_EVERY == 0:
            self.pictures = [*self.pictures[1:], leaves.dead_leaves(self.rng)]
        count = OPTIONS.batch_size // self.group.world_size
        x0 = to_model(torch.from_numpy(leaves.patches(self.rng, self.pictures, count, SIDE)))
        t = self._times(len(x0))
        eps = torch.randn(x0.shape, generator=self.generator)
        xt, target = self.schedule.add_noise(x0, eps, t), self.schedule.target(OPTIONS.objective, x0, eps, t)
        with torch.autocast("cpu", torch.bfloat16):
            predicted = self.forward(xt, t)
        loss = F.mse_loss(predicted.float(), target)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), OPTIONS.clip)
        falling = (1 + math.cos(math.pi * min(1.0, self.seconds / self.total))) / 2
        self.optimizer.param_groups[0]["lr"] = OPTIONS.lr * min(1.0, (self.step + 1) / OPTIONS.warmup) * falling
        self.optimizer.step()
        self.ema.update(self.network)
        self.step += 1
        return loss.item()

    def _times(self, count: int) -> Tensor:
        """Draw timesteps, spread evenly over the noise levels of `SIGMAS`, or for a few patches over all timesteps."""
        shares = (torch.arange(count) + torch.rand(1, generator=self.generator)) / count
        low, high = (math.log(sigma / 255) for sigma in SIGMAS)
        levels = torch.exp(low + shares.double() * (high - low))
        by_level = torch.searchsorted(self.schedule.sigma, levels).clamp(max=len(self.schedule) - 1)
        uniform = torch.randint(len(self.schedule), (count,), generator=self.generator)
        return torch.where(torch.rand(count, generator=self.generator) < UNIFORM_SHARE, uniform, by_level)

    def _log(self, loss: float) -> None:
        row: dict[str, Any] = {"step": self.step, "seconds": round(self.seconds, 1), "loss": round(loss, 5)}
        row |= measure(self.ema.network, self.schedule, self.held_out)
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)

    def _save(self) -> None:
        state = {"ema": self.ema.state_dict(), "optimizer": self.optimizer.state_dict()}
        counts = {"step": self.step, "seconds": self.seconds}
        checkpoint.save(self.folder / "state.safetensors", {**state, **counts}, self.network)


def untrained_network() -> UNet:
    """Return the network with random weights."""
    return UNet((3, SIDE, SIDE), channels=CHANNELS, attention=0, timesteps=OPTIONS.timesteps)


def held_out() -> dict[str, Tensor]:
    """Return clean patches (n, 3, 48, 48) in [0, 1], by name: drawn leaves, and for information two photographs."""
    from skimage import data

    rng = np.random.default_rng(derive(0, "held-out leaves"))
    drawn = leaves.patches(rng, [leaves.dead_leaves(rng) for _ in range(64)], 64, SIDE)
    patches = {"leaves": torch.from_numpy(drawn)}
    for name in ("chelsea", "coffee"):
        photograph = [getattr(data, name)().astype(np.float32) / 255]
        patches[name] = torch.from_numpy(leaves.patches(rng, photograph, 64, SIDE))
    return patches


@torch.no_grad()
def measure(network: nn.Module, schedule: Schedule, images: dict[str, Tensor]) -> dict[str, float]:
    """Return the PSNR of one-step denoising, over all pixels of a set, at three noise levels."""
    measured = {}
    for name, clean in images.items():
        for sigma in (10, 25, 50):
            eps = torch.randn(clean.shape, generator=torch.Generator().manual_seed(sigma))
            t = schedule.timestep(sigma / 255)
            a, _ = schedule.alpha_sigma(t)
            xt = a * to_model(clean + sigma / 255 * eps)
            x0, _ = Denoiser(network, schedule, objective=OPTIONS.objective)(xt, t)
            error = (to_unit(x0).clamp(0, 1) - clean).square().mean().item()
            measured[f"{name} {sigma}"] = round(-10 * math.log10(error), 2)
    return measured


def main() -> None:
    """Train for some minutes."""
    parser = argparse.ArgumentParser(prog="python -m scripts.train_leaves_prior")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=50)
    parser.add_argument("--total", type=float, default=105, help="minutes of all calls together")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    with join_process_group(torch.device("cpu")) as group:
        Training(options.folder, options.total, group).run(60 * options.minutes)


if __name__ == "__main__":
    main()
