"""What the UNet sees and what it shall answer: the training objectives, each with targets of its own."""

from __future__ import annotations

from dataclasses import dataclass

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from .schedule import min_snr_weights, mixing

SIGMA_DATA = 0.5


@dataclass(frozen=True)
class Objective:
    """Which objective, and its options; see docs/objectives.md.

    Attributes:
        name: ``epsilon``, ``v`` or ``edm``.
        zero_terminal_snr: with ``v``, the schedule ends in pure noise.
        min_snr_gamma: γ of the loss weights of ``epsilon`` and ``v``; 0: none.
        latents_mean, latents_std: of the VAE's latents by channel, brought to mean 0 and standard deviation 0.5 for
            ``edm``; empty: latents are multiplied by the VAE's scale, as for the others.
    """

    name: str = "epsilon"
    zero_terminal_snr: bool = False
    min_snr_gamma: float = 0.0
    latents_mean: tuple[float, ...] = ()
    latents_std: tuple[float, ...] = ()

    def scaling(self, scale: float) -> tuple[np.ndarray, np.ndarray]:
        """Shift and factor, float32 ``[1, 4, 1, 1]`` or scalars: UNet's latents = (VAE's latents - shift) * factor.

        Args:
            scale: the VAE's own.
        """
        if not self.latents_std:
            return np.array(0, np.float32), np.array(scale, np.float32)
        mean, std = (
            np.array(values, np.float32).reshape(1, -1, 1, 1) for values in (self.latents_mean, self.latents_std)
        )
        return mean, np.float32(SIGMA_DATA) / std

    @property
    def weights(self) -> np.ndarray | None:
        """Weight of each timestep's loss, float64 ``[1000]``; None: they weigh the same."""
        if not self.min_snr_gamma:
            return None
        return min_snr_weights(self.min_snr_gamma, self.name == "v", self.zero_terminal_snr)

    def cell(self) -> nn.Cell:
        """``construct(latents, levels, noise)`` -> what the UNet sees, what it shall answer, and its timesteps."""
        if self.name == "edm":
            return Karras()
        return Velocity(self.zero_terminal_snr) if self.name == "v" else Epsilon(self.zero_terminal_snr)


EPSILON = Objective()
"""That of SDXL base."""


class Epsilon(nn.Cell):
    """x_t = √ᾱ_t z + √(1 - ᾱ_t) ε, and the target is ε (Ho et al. 2020, equations 4 and 14).

    latents and noise float32 ``[B, 4, h, w]``, timesteps int32 ``[B]``.
    """

    def __init__(self, zero_terminal: bool) -> None:
        super().__init__(auto_prefix=False)
        signal, noise = mixing(zero_terminal)
        self.signal = ms.Tensor(signal.astype(np.float32))
        self.noise = ms.Tensor(noise.astype(np.float32))
        self.at, self.reshape = ops.Gather(), ops.Reshape()

    def shares(self, timesteps: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        """√ᾱ_t and √(1 - ᾱ_t), ``[B, 1, 1, 1]``."""
        signal = self.reshape(self.at(self.signal, timesteps, 0), (-1, 1, 1, 1))
        return signal, self.reshape(self.at(self.noise, timesteps, 0), (-1, 1, 1, 1))

    def construct(
        self, latents: ms.Tensor, timesteps: ms.Tensor, noise: ms.Tensor
    ) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor]:
        signal, level = self.shares(timesteps)
        return signal * latents + level * noise, noise, timesteps


class Velocity(Epsilon):
    """The same x_t, and the target is v = √ᾱ_t ε - √(1 - ᾱ_t) z (Salimans and Ho 2022, section 4 and appendix D)."""

    def construct(
        self, latents: ms.Tensor, timesteps: ms.Tensor, noise: ms.Tensor
    ) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor]:
        signal, level = self.shares(timesteps)
        return signal * latents + level * noise, signal * noise - level * latents, timesteps


class Karras(nn.Cell):
    """Preconditioning of Karras et al. 2022, table 1 (EDM), with x = z + σ ε and σ_d = 0.5.

    The UNet sees c_in x and ln(σ)/4, and D = c_skip x + c_out F shall be z. The paper's loss λ ‖D - z‖² with
    λ = 1/c_out² is ‖F - (z - c_skip x)/c_out‖², and that target is (σ/σ_d z - σ_d ε)/√(σ² + σ_d²), which is computed:
    it does not lose digits to the difference of z and c_skip x.

    latents and noise float32 ``[B, 4, h, w]``, sigmas float32 ``[B]``.
    """

    def __init__(self) -> None:
        super().__init__(auto_prefix=False)
        self.reshape, self.sqrt, self.log = ops.Reshape(), ops.Sqrt(), ops.Log()

    def construct(
        self, latents: ms.Tensor, sigmas: ms.Tensor, noise: ms.Tensor
    ) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor]:
        sigma = self.reshape(sigmas, (-1, 1, 1, 1))
        size = self.sqrt(sigma * sigma + SIGMA_DATA * SIGMA_DATA)
        target = (sigma / SIGMA_DATA * latents - SIGMA_DATA * noise) / size
        return (latents + sigma * noise) / size, target, 0.25 * self.log(sigmas)
