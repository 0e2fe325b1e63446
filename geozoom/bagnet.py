"""BagNets (Brendel and Bethge, 2019): a network looks at each patch alone, and what it finds is added up.

Patches are those of the grid, so that the receptive field of every piece of evidence is one patch that can be bought
or left. Weights are shared among patches, and nothing tells the network where a patch lies.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geozoom.grid import PatchGrid


class BagNet(nn.Module):
    """Class evidence of each patch, summed over the patches that were bought and divided by P.

    Dividing by P, not by the number of patches bought, leaves the sum a sum: with all patches it is their mean; with
    fewer, the answer is as much less sure as there is less evidence; with none it is uniform. Which class comes first
    is the same either way.
    """

    def __init__(self, network: nn.Module, num_outputs: int, grid: PatchGrid) -> None:
        super().__init__()
        self.network = network
        """Maps patches (K, 3, h, w) to evidence (K, num_outputs)."""
        self.num_outputs = num_outputs
        self.grid = grid

    @property
    def fc(self) -> nn.Linear:
        """The layer that makes evidence of features, under the name that it has in every network."""
        last = self.network.get_submodule("fc")
        assert isinstance(last, nn.Linear)
        return last

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (B, 3, H, W) to logits (B, num_outputs) of all their patches."""
        return self.evidence(images).mean(dim=1)

    def evidence(self, images: Tensor) -> Tensor:
        """Map normalised images (B, 3, H, W) to the evidence of every patch, (B, P, num_outputs) float32."""
        patches = cut_patches(images, self.grid).flatten(0, 2)
        found: Tensor = self.network(patches.permute(0, 3, 1, 2))  # in channels_last
        return found.float().view(len(images), self.grid.patches, self.num_outputs)

    def add_up(self, evidence: Tensor, bought: Tensor) -> Tensor:
        """Return the logits (B, num_outputs) of evidence (B, P, num_outputs) under masks (B, P)."""
        return (evidence * bought.to(evidence.dtype)[:, :, None]).sum(dim=1) / self.grid.patches

    def of_bought(self, patches: Tensor, scene: Tensor, scenes: int) -> Tensor:
        """Return logits from the patches that were bought, gathered across scenes; no other is computed.

        Args:
            patches: (K, 3, h, w) normalised.
            scene: (K,) which scene each patch is of.
            scenes: B, the number of scenes; one without a patch has logits of 0.

        Returns:
            (B, num_outputs) float32.
        """
        nothing = torch.zeros(scenes, self.num_outputs, device=patches.device)
        if not len(patches):
            return nothing
        # Not by the module's call, which may be compiled for one shape: K is another in every batch.
        found: Tensor = self.network.forward(patches)
        return nothing.index_add(0, scene, found.float()) / self.grid.patches


def cut_patches(images: Tensor, grid: PatchGrid) -> Tensor:
    """Return a view of images (B, 3, H, W) as patches (B, rows, cols, h, w, 3).

    Raises:
        ValueError: The grid does not divide the images.
    """
    count, channels, height, width = images.shape
    if height % grid.rows or width % grid.cols:
        raise ValueError(
            f"images of {height} × {width} px cannot be cut into {grid.rows} × {grid.cols} equal patches"
        )
    tall, wide = height // grid.rows, width // grid.cols
    apart = images.view(count, channels, grid.rows, tall, grid.cols, wide)
    return apart.permute(0, 2, 4, 3, 5, 1)


def gather_patches(images: Tensor, bought: Tensor, grid: PatchGrid) -> tuple[Tensor, Tensor]:
    """Return the patches of images (B, 3, H, W) that masks (B, P) buy, and which image each is of.

    On a GPU the host waits for K, the number of patches.

    Returns:
        (K, 3, h, w), and (K,) int64.
    """
    scene, patch = bought.nonzero(as_tuple=True)
    row, col = patch.div(grid.cols, rounding_mode="floor"), patch % grid.cols
    return cut_patches(images, grid)[scene, row, col].permute(0, 3, 1, 2), scene
