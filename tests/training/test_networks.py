"""The layers of the networks."""

import torch
from torch import nn

from captum_certified.training import mnist_network


def test_figure_9_two_convolutions_and_two_dense_layers_with_softplus():
    """Every activation is a softplus, because attacks need a gradient of the saliency map."""
    network = mnist_network(seed=0)
    weighted = [module for module in network if isinstance(module, nn.Conv2d | nn.Linear)]
    assert [type(module) for module in weighted] == [nn.Conv2d, nn.Conv2d, nn.Linear, nn.Linear]
    assert sum(isinstance(module, nn.Softplus) for module in network) == 3
    assert not any(isinstance(module, nn.ReLU) for module in network.modules())
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
