"""Sequential runs in which the test decides when to stop."""

from collections.abc import Sequence
from dataclasses import fields

import torch

from captum_certified import SmoothedAttribution, SmoothedMap
from captum_certified.attr.request import CallSettings, SamplingRequest
from captum_certified.attr.run import SamplingRun
from captum_certified.certify.goal import Goal
from captum_certified.certify.prover import Prover
from captum_certified.certify.sequential import RemainingRows, sample_in_looks
from captum_certified.certify.stopping_rule import StoppingRule


def sampled_in_looks(
    explainer: SmoothedAttribution, inputs: torch.Tensor, answers: Sequence[torch.Tensor], sizes: Sequence[int], **call
) -> SmoothedMap:
    """Return the map of a run that looks after ``sizes`` draws and stops the rows named by the answer to each look."""
    own = {field.name for field in fields(CallSettings)}
    kwargs = {name: value for name, value in call.items() if name not in own}
    settings = {name: value for name, value in call.items() if name in own}
    request = SamplingRequest.checked(
        (explainer,), inputs, CallSettings(nt_samples=sizes[-1], kwargs=kwargs, **settings)
    )
    rule = StoppingRule(Prover(), Goal(k=1, radius=0.1, overlap=1), sizes)
    left = iter(answers)
    return sample_in_looks(
        RemainingRows(SamplingRun(request)), rule, rows=len(inputs), decide=lambda part: next(left)[: len(part)]
    )
