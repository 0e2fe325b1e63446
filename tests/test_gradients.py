from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from geozoom.errors import RecipeError
from training.gradients import build_estimator, entropy, log_likelihood, tempered
from training.rewards import build_reward

PATCHES = 4
MASKS = torch.tensor(list(itertools.product([0.0, 1.0], repeat=PATCHES)))
WORTH = torch.tensor([1.0, -0.5, 0.25, 2.0])


def utility(masks: Tensor) -> Tensor:
    """Neither linear nor symmetric in the patches."""
    return (masks @ WORTH) - 1.5 * masks[:, 0] * masks[:, 3] + 0.7 * masks.prod(dim=1)


def exact_gradient(logits: Tensor, alpha: float) -> Tensor:
    """Sum over all 16 masks."""
    logits = logits.clone().requires_grad_()
    probabilities = tempered(logits[None], alpha).expand(len(MASKS), -1)
    expected = (log_likelihood(probabilities, MASKS).exp() * utility(MASKS)).sum()
    (gradient,) = torch.autograd.grad(expected, logits)
    return gradient


@pytest.mark.parametrize("name", ["self_critical", "rloo"])
@pytest.mark.parametrize("alpha", [0.7, 0.95])
def test_estimators_are_unbiased(name: str, alpha: float) -> None:
    logits = torch.tensor([0.3, -0.6, 1.0, -0.2])
    estimator = build_estimator(name)
    generator = torch.Generator().manual_seed(3)
    draws = []
    for _ in range(40):
        batch = logits.expand(2000, -1).clone().requires_grad_()
        masks = estimator.propose(batch, alpha, generator)
        utilities = torch.stack([utility(mask) for mask in masks])
        (gradient,) = torch.autograd.grad(estimator.loss(batch, alpha, masks, utilities), batch)
        draws.append(-gradient.sum(dim=0))  # the loss is a mean, and its gradient points downhill
    samples = torch.stack(draws)
    error = samples.std(dim=0) / len(samples) ** 0.5
    assert ((samples.mean(dim=0) - exact_gradient(logits, alpha)).abs() < 4 * error).all()
    assert (error < 0.02).all()


def test_self_critical_compares_a_sample_with_the_most_likely_mask() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5, -3.0]])
    masks = build_estimator("self_critical").propose(logits, 0.8, torch.Generator().manual_seed(0))
    assert masks[1].tolist() == [[1.0, 0.0, 1.0, 0.0]]


def test_temperature_bounds_the_policy() -> None:
    s = tempered(torch.tensor([[-50.0, 0.0, 50.0]]), 0.8)
    torch.testing.assert_close(s, torch.tensor([[0.2, 0.5, 0.8]]))


def test_entropy_is_that_of_independent_bernoullis() -> None:
    logits = torch.randn(5, PATCHES)
    s = torch.sigmoid(logits)
    expected = -(s * s.log() + (1 - s) * (1 - s).log()).sum(dim=1)
    torch.testing.assert_close(entropy(logits), expected, rtol=1e-4, atol=1e-5)


def test_the_papers_reward_is_quadratic_in_s_and_a_penalty_when_wrong() -> None:
    reward = build_reward("paper", penalty=-5, price=0)  # the sign is the paper's inconsistency
    scores = torch.tensor([[0.9, 0.1], [0.9, 0.1]]).log()
    masks = torch.zeros(2, 16)
    masks[:, :8] = 1
    torch.testing.assert_close(
        reward.utility(scores, torch.tensor([0, 1]), masks), torch.tensor([0.75, -5.0])
    )


def test_the_priced_reward_has_the_exact_gradient_of_its_cost() -> None:
    reward = build_reward("priced", penalty=0, price=0.2)
    logits = torch.randn(3, 16, requires_grad=True)
    reward.cost(torch.sigmoid(logits)).backward()  # type: ignore[no-untyped-call]
    s = torch.sigmoid(logits.detach())
    torch.testing.assert_close(logits.grad, 0.2 * s * (1 - s) / 48)
    scores = torch.tensor([[0.25, 0.75]]).log()
    assert reward.utility(scores, torch.tensor([1]), torch.ones(1, 16)).item() == pytest.approx(0.75)


def test_hits_are_right_or_wrong() -> None:
    reward = build_reward("priced_hits", penalty=0, price=0.2)
    scores = torch.tensor([[0.25, 0.75], [0.25, 0.75]]).log()
    assert reward.utility(scores, torch.tensor([1, 0]), torch.ones(2, 16)).tolist() == [1.0, 0.0]


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(RecipeError, match="self_critical, rloo"):
        build_estimator("reinforce")
    with pytest.raises(RecipeError, match="paper, priced or priced_hits"):
        build_reward("free", penalty=0, price=0)
