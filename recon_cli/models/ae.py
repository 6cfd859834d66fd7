"""A deterministic autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from recon_cli.errors import ReconError
from recon_cli.models._autoencoder import Autoencoder

if TYPE_CHECKING:
    from recon_cli.models._options import Options


class Deterministic(Autoencoder):
    """The networks of the mlp, with nothing on the KL: z is the encoder's mean."""

    usual: ClassVar[Mapping[str, float]] = {"beta": 0.0}

    @classmethod
    def check(cls, options: Options) -> None:
        if options.beta:
            raise ReconError(
                f"--model ae has nothing on the KL, and --beta (--kl-weight) {options.beta:g} was given.",
                "Leave it out, or take --model mlp, which is the VAE.",
            )
        super().check(options)
