"""Spacing of the timesteps of sampling."""

from __future__ import annotations

from dipddpm.core.errors import UserError


def spacing(timesteps: int, steps: int, power: float = 1.0) -> list[int]:
    """Return `steps` different timesteps, falling from the last of `timesteps` timesteps.

    Timestep i is at (1 - i / steps)^power of the range, so that the first is the last timestep and the step after the
    final one gives the clean image. Power 1 is even spacing ("trailing" in Lin et al. 2024, table 2); a higher power
    is denser at low noise. Each timestep is rounded, and moved to the nearest free one. Raises UserError for more
    steps than timesteps.
    """
    refuse_steps(timesteps, steps)
    times = [round(timesteps * (1 - i / steps) ** power) - 1 for i in range(steps)]
    for i in range(1, steps):
        times[i] = min(times[i], times[i - 1] - 1)
    # Timesteps that this moved below 0 move back up from the end.
    return [max(t, steps - 1 - i) for i, t in enumerate(times)]


def refuse_steps(timesteps: int, steps: int) -> None:
    """Raise UserError for more steps than timesteps, and for none."""
    if not 1 <= steps <= timesteps:
        problem = f"Sampling over {timesteps} timesteps can take 1 to {timesteps} steps, not {steps}."
        raise UserError(problem, "Choose fewer steps, or 0 for all timesteps.")
