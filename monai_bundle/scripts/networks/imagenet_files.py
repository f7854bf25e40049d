"""Files of ImageNet weights by name, address and checksum: found in torch's cache, fetched only when asked for."""

from __future__ import annotations

import hashlib
import logging
import urllib.error
from dataclasses import dataclass

import torch
from torch import Tensor

from scripts.networks.imagenet_weights import ImageNetWeightsError, plain_tensors, weights_folder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageNetFile:
    """One published file of weights.

    Attributes
    ----------
    name : str
        File in torch's cache.
    url : str
        Where it is published.
    sha256_prefix : str
        What its sha256 begins with.
    licence : str
        Of the weights.
    """

    name: str
    url: str
    sha256_prefix: str
    licence: str

    def available(self, fetch: bool = False) -> bool:
        """Return whether the file is on this machine, after an attempt to fetch it where that is allowed."""
        path = weights_folder() / self.name
        if fetch and not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                torch.hub.download_url_to_file(self.url, str(path), self.sha256_prefix, progress=False)
            except (OSError, RuntimeError, urllib.error.URLError) as error:
                logger.warning("%s could not be fetched from %s: %s", self.name, self.url, error)
        return path.is_file()

    def read(self) -> dict[str, Tensor]:
        """Return its tensors by name.

        Raises
        ------
        ImageNetWeightsError
            If it is damaged, or its sha256 begins otherwise.
        """
        path = weights_folder() / self.name
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if not found.startswith(self.sha256_prefix):
            raise ImageNetWeightsError(
                "weights.imagenet_sha256", file=self.name, found=found[:12], expected=self.sha256_prefix
            )
        return plain_tensors(path)
