"""Sequential certificates of a small network, for tests."""

from captum.attr import Saliency
from networks import GateNet, images

from captum_certified import Certifier, SparsifiedSmoothGrad

SHAPE = (3, 4, 4)
X = images(6, shape=SHAPE)


def explainer(model=None, method=Saliency):
    return SparsifiedSmoothGrad(method(model or GateNet(SHAPE)), tau=0.25)


def certified(x=X, *, of=None, certifier=None, **settings):
    defaults = {
        "k": 12,
        "radius": 0.1,
        "overlap": 0.75,
        "nt_samples": 1024,
        "nt_samples_batch_size": 16,
        "stdevs": 0.1,
        "seed": 1,
        "covariance": 64,
        "target": 1,
    }
    return Certifier(of or explainer(), **(certifier or {})).certify(x, **{**defaults, **settings})
