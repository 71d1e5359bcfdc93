"""An attack within the radius of a certificate, to measure how much of the certified top K is left."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_certified._captum import MethodArguments
from captum_certified.attr import SmoothedAttribution
from captum_certified.attr.fingerprint import input_digests
from captum_certified.attr.request import checked_inputs
from captum_certified.certify import TopKCertificate
from captum_certified.certify.written_numbers import ceiled_percent, floored_percent, rounded_down
from captum_certified.exceptions import InvalidInputError
from captum_certified.maps import Groups, SmoothedMap
from captum_certified.randomness import derived_seed
from captum_certified.robust.base import checked_seed
from captum_certified.robust.named_attacks import NamedAttack
from captum_certified.robust.surrogate import AUTO, Surrogate, SurrogateBeta
from captum_certified.theory import top_k_mask

__all__ = ["Challenge", "challenge_certificate"]

# Two different seeds are derived from the caller's seed, one for the attack and one for the measurement. So the attack
# and the measurement share no draws.
_ATTACK, _MEASUREMENT = 1, 2


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Challenge:
    """A certificate and the outcome of an attack on the certified explanation.

    Attributes:
        certificate: The certificate.
        perturbed: The perturbed inputs, within the radius of the certificate.
        map: The smoothed map at the perturbed inputs, over draws that neither the certificate nor the attack used.
        overlap: How many features of the certificate's top K, or of its reference set, are in the top K of ``map``,
            shape (N,). Apart from the sampling error of ``map``, no certificate of this set at this radius can promise
            more.
        surrogate: The network whose gradients guided the attack.
        queries: Number of points at which the attack evaluated the explanation, as in
            :class:`~captum_certified.AttackResult`, shape (N,).
    """

    certificate: TopKCertificate
    perturbed: Tensor | tuple[Tensor, ...]
    map: SmoothedMap
    overlap: Tensor
    surrogate: Surrogate
    queries: Tensor | None = None

    def __repr__(self) -> str:
        rows, of = len(self.overlap), self.certificate
        what = f"top {of.k}" if of.reference == "own" else "reference"
        return (
            f"Challenge(mean of {rows} example{'s' * (rows != 1)}: "
            f"{ceiled_percent(float(self.overlap_fraction.double().mean()))}% of the {what} left within L2 radius "
            f"{rounded_down(self.certificate.radius)}, "
            f"{floored_percent(float(self.certificate.overlap_fraction.double().mean()))}% certified, surrogate "
            f"{self.surrogate})"
        )

    @property
    def overlap_fraction(self) -> Tensor:
        """Overlap as a fraction of K, or of the size of the reference set if that is smaller, shape (N,)."""
        return self.overlap / self.certificate.reference_size.clamp_max(self.certificate.k)


def challenge_certificate(
    certificate: TopKCertificate,
    explainer: SmoothedAttribution,
    inputs: Tensor | tuple[Tensor, ...],
    *,
    forward_func: Callable[..., Tensor] | None = None,
    attack: str = "interpretation",
    attack_draws: int = 16,
    step_num: int = 10,
    n_restarts: int = 1,
    n_queries: int = 1000,
    nt_samples: int | None = None,
    nt_samples_batch_size: int | None = None,
    lower_bound: float = float("-inf"),
    upper_bound: float = float("inf"),
    surrogate_beta: SurrogateBeta = AUTO,
    keep_class: bool = True,
    attribution_kwargs: MethodArguments | None = None,
    seed: int | None = None,
    show_progress: bool = False,
    **kwargs: Any,
) -> Challenge:
    """Attack a smoothed explanation within the radius of its certificate, and measure how much of the top K is left.

    If the certificate is about a reference set, that set is attacked and measured.

    Args:
        certificate: The certificate.
        explainer: The explanation that was certified.
        inputs: The inputs that were explained, shape (N, …).
        forward_func: The model that says which class is predicted; by default the model of the explainer.
        attack: Name of the attack: ``"interpretation"`` (Algorithm 1), ``"ghorbani"``, ``"fast_gradient"`` (one step)
            or ``"black_box"``, which takes no gradients and so attacks maps of any method.
        attack_draws: Number of noise draws for each gradient, or for each query, of the attack.
        step_num: Number of steps from each start; of ``"interpretation"`` and ``"ghorbani"``.
        n_restarts: Number of starts; of ``"interpretation"``.
        n_queries: Number of queries for each example; of ``"black_box"``.
        nt_samples: Number of draws for the measurement; by default the largest number of draws in the certificate.
        nt_samples_batch_size: Number of draws of the measurement that are computed in one pass.
        lower_bound: Smallest value of an input.
        upper_bound: Largest value of an input.
        surrogate_beta: β of the softplus surrogate of the attack, as in :class:`InterpretationAttack`.
        keep_class: Whether the predicted class must stay the same. The certificate also covers inputs whose class
            changes, so ``False`` is the harder test.
        attribution_kwargs: Arguments of the wrapped method that have the same name as an argument of this function or
            of ``attribute``.
        seed: Seed from which the attack and the measurement derive separate seeds; ``None`` draws a fresh one.
        show_progress: Show progress bars on stderr.
        **kwargs: Arguments of the wrapped method: ``target``, ``baselines``, …

    Returns:
        The perturbed inputs, and the overlap of the certified top K with the top K at the perturbed inputs.

    Raises:
        InvalidInputError: An argument is not what was expected, the inputs or the explanation are not those that were
            certified, or the certificate has different noise levels for different input tensors.

    Example:
        >>> import torch
        >>> from captum.attr import Saliency
        >>> from captum_certified import Certifier, SparsifiedSmoothGrad
        >>> from captum_certified.robust import challenge_certificate
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.Softplus(), torch.nn.Linear(8, 3))
        >>> images, explainer = torch.rand(2, 16), SparsifiedSmoothGrad(Saliency(model), tau=0.25)
        >>> certificate = Certifier(explainer).certify(
        ...     images, target=0, k=4, radius=0.05, nt_samples=512, stdevs=0.2, seed=0
        ... )
        >>> challenge = challenge_certificate(certificate, explainer, images, target=0, seed=1)
        >>> bool((challenge.overlap >= certificate.overlap).all())
        True
    """
    seed = checked_seed(seed)
    smoothed = certificate.map
    _check_inputs(certificate, checked_inputs(inputs))
    layout = smoothed.layout
    groups: Groups = "channels" if layout.by_channel else layout.group_ids
    hidden = dict(attribution_kwargs or {})
    of_both: MethodArguments = {"stdevs": smoothed.stdevs, "groups": groups, "attribution_kwargs": hidden}
    of_attack = {name: value for name, value in kwargs.items() if name not in ("target", "additional_forward_args")}
    named = NamedAttack(name=attack, step_num=step_num, n_restarts=n_restarts, n_queries=n_queries)
    attacked = named.on(
        forward_func or explainer.forward_func,
        explainer,
        lower_bound=lower_bound,
        upper_bound=upper_bound,
        surrogate_beta=surrogate_beta,
        objective="top_k" if certificate.reference == "own" else "reference",
    )
    result = attacked(
        inputs,
        certificate.radius,
        k=certificate.k,
        target=kwargs.get("target"),
        additional_forward_args=kwargs.get("additional_forward_args"),
        attribution_kwargs={**of_attack, **of_both, "nt_samples": attack_draws},
        reference=None if certificate.reference == "own" else layout.unflatten(certificate.members),
        keep_class=keep_class,
        seed=derived_seed(seed, _ATTACK),
        show_progress=show_progress,
    )
    measured = explainer.sample(
        result.perturbed,
        nt_samples=nt_samples if nt_samples is not None else int(smoothed.n_samples.max()),
        nt_samples_batch_size=nt_samples_batch_size,
        seed=derived_seed(seed, _MEASUREMENT),
        covariance=False,
        show_progress=show_progress,
        **of_both,
        **kwargs,
    )
    _check_explanation(smoothed, measured)
    top, _ = top_k_mask(measured.features.numpy(), certificate.k)
    return Challenge(
        certificate=certificate,
        perturbed=result.perturbed,
        map=measured,
        overlap=(certificate.members & torch.from_numpy(top)).sum(dim=1),
        surrogate=result.surrogate,
        queries=result.queries,
    )


def _check_inputs(certificate: TopKCertificate, inputs: tuple[Tensor, ...]) -> None:
    """Refuse inputs that were not certified, and certificates with a radius that is not a plain L2 norm.

    Raises:
        InvalidInputError: ``inputs`` are not those that were certified, or the noise level differs between tensors.
    """
    smoothed = certificate.map
    if len(inputs[0]) != len(smoothed):
        raise InvalidInputError(
            f"Expected `inputs` of the {len(smoothed)} examples of the certificate, got {len(inputs[0])}."
        )
    if isinstance(smoothed.stdevs, tuple) and (len(set(smoothed.stdevs)) > 1 or not smoothed.stdevs[0]):
        raise InvalidInputError(
            "Expected a certificate with one noise level for all inputs, whose radius is a plain L2 norm, got "
            f"`stdevs` {smoothed.stdevs}."
        )
    recorded = smoothed.setup.get("inputs")
    if recorded is not None and recorded != input_digests(inputs):
        raise InvalidInputError("Expected the `inputs` that were certified, got others.")


def _check_explanation(certified: SmoothedMap, measured: SmoothedMap) -> None:
    """Refuse an explanation that was not certified.

    Raises:
        InvalidInputError: The class, the method, the model or an argument differs from the certified explanation.
    """
    if certified.setup and certified.setup.get("sign") != measured.setup.get("sign"):
        raise InvalidInputError(
            "Expected the explanation that was certified, got another sign: "
            f"{measured.setup.get('sign', 'both')!r} for {certified.setup.get('sign', 'both')!r}."
        )
    for name in ("class", "tau", "gamma", "method", "model", "target", "arguments"):
        if name in certified.setup and certified.setup[name] != measured.setup.get(name):
            raise InvalidInputError(
                f"Expected the explanation that was certified, got another {name}: "
                f"{measured.setup.get(name)!r} for {certified.setup[name]!r}."
            )
