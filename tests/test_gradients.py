from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from geozoom.errors import RecipeError
from training.gradients import Estimator, build_estimator, entropy, log_likelihood, tempered
from training.rewards import build_reward

PATCHES = 4
MASKS = torch.tensor(list(itertools.product([0.0, 1.0], repeat=PATCHES)))
LOGITS = torch.tensor([0.3, -0.6, 1.0, -0.2])
WORTH = torch.tensor([1.0, -0.5, 0.25, 2.0])


def utility(masks: Tensor) -> Tensor:
    """Neither linear nor symmetric in the patches."""
    return (masks @ WORTH) - 1.5 * masks[:, 0] * masks[:, 3] + 0.7 * masks.prod(dim=1)


def curved(masks: Tensor) -> Tensor:
    """No plane in each patch, as the paper's (S/P)² is not: what straight-through is biased on."""
    return torch.tanh(masks @ WORTH) - masks.mean(dim=1) ** 2


def exact_gradient(logits: Tensor, alpha: float, worth: Callable[[Tensor], Tensor] = utility) -> Tensor:
    """Sum over all 16 masks."""
    logits = logits.clone().requires_grad_()
    probabilities = tempered(logits[None], alpha).expand(len(MASKS), -1)
    expected = (log_likelihood(probabilities, MASKS).exp() * worth(MASKS)).sum()
    (gradient,) = torch.autograd.grad(expected, logits)
    return gradient


def straight_through_gradient(logits: Tensor, alpha: float) -> Tensor:
    """What the straight-through estimator has on average: Σ π(a) ∂R/∂a ∂s/∂logit, over all 16 masks."""
    probabilities = tempered(logits[None], alpha).expand(len(MASKS), -1)
    masks = MASKS.clone().requires_grad_()
    slope: Tensor = torch.autograd.grad(curved(masks).sum(), masks)[0]
    mean = (log_likelihood(probabilities, MASKS).exp()[:, None] * slope).sum(dim=0)
    s = torch.sigmoid(logits)
    return mean * (2 * alpha - 1) * s * (1 - s)


def draw(estimator: Estimator, alpha: float, worth: Callable[[Tensor], Tensor], count: int) -> Tensor:
    """(count, P) gradients of single scenes."""
    batch = LOGITS.expand(count, -1).clone().requires_grad_()
    masks = estimator.propose(batch, alpha, torch.Generator().manual_seed(3))
    with torch.set_grad_enabled(estimator.differentiable):
        utilities = torch.stack([worth(mask) for mask in masks])
    (gradient,) = torch.autograd.grad(estimator.loss(batch, alpha, masks, utilities), batch)
    return -count * gradient  # the loss is a mean, and its gradient points downhill


def errors(drawn: Tensor) -> Tensor:
    return drawn.std(dim=0) / math.sqrt(len(drawn))


UNBIASED: dict[str, Estimator] = {
    "self_critical": build_estimator("self_critical"),
    "rloo": build_estimator("rloo"),
    "rloo(4)": build_estimator("rloo", 4),
    "disarm": build_estimator("disarm"),
}


@pytest.mark.parametrize("name", UNBIASED)
@pytest.mark.parametrize("worth", [utility, curved])
@pytest.mark.parametrize("alpha", [0.7, 0.95])
def test_estimators_are_unbiased(name: str, worth: Callable[[Tensor], Tensor], alpha: float) -> None:
    drawn = draw(UNBIASED[name], alpha, worth, 80_000)
    error = errors(drawn)
    assert ((drawn.mean(dim=0) - exact_gradient(LOGITS, alpha, worth)).abs() < 4 * error).all()
    assert (error < 0.02).all()


@pytest.mark.parametrize("alpha", [0.7, 0.95])
def test_straight_through_is_biased_by_as_much_as_the_utility_is_curved(alpha: float) -> None:
    drawn = draw(build_estimator("straight_through"), alpha, curved, 80_000)
    error = errors(drawn)
    assert ((drawn.mean(dim=0) - straight_through_gradient(LOGITS, alpha)).abs() < 4 * error).all()
    exact = exact_gradient(LOGITS, alpha, curved)
    bias = drawn.mean(dim=0) - exact
    assert (bias.abs() > 4 * error).all()
    share = (bias.norm() / exact.norm()).item()
    assert share == pytest.approx({0.7: 0.24, 0.95: 0.36}[alpha], abs=0.02)
    # Where the utility is a plane in each patch, there is no bias: the derivative is the difference.
    plane = draw(build_estimator("straight_through"), alpha, utility, 80_000)
    assert ((plane.mean(dim=0) - exact_gradient(LOGITS, alpha)).abs() < 4 * errors(plane)).all()


def test_variances_rank_the_same_on_both_utilities_but_for_the_papers_estimator() -> None:
    """Its baseline, the most likely mask's reward, may be near the mean reward or far from it."""
    ranks = {}
    for worth in (utility, curved):
        estimators = UNBIASED | {"straight_through": build_estimator("straight_through")}
        variance = {
            name: draw(estimator, 0.8, worth, 80_000).var(dim=0).sum().item()
            for name, estimator in estimators.items()
        }
        ranks[worth] = sorted(variance, key=lambda name: variance[name])
        assert variance["rloo(4)"] < 0.5 * variance["rloo"]  # with twice the forwards
        assert variance["disarm"] < 0.75 * variance["rloo"]  # with as many
    # Straight-through varies little by itself, and pays with its bias.
    assert ranks[curved] == ["rloo(4)", "straight_through", "disarm", "rloo", "self_critical"]
    assert ranks[utility] == ["straight_through", "rloo(4)", "disarm", "self_critical", "rloo"]


def test_antithetic_masks_have_the_policys_probabilities_and_disagree_where_they_can() -> None:
    logits = torch.tensor([[0.0, 3.0, -3.0]]).expand(50_000, -1)
    first, second = build_estimator("disarm").propose(logits, 1.0, torch.Generator().manual_seed(0))
    for mask in (first, second):
        torch.testing.assert_close(mask.mean(dim=0), torch.sigmoid(logits[0]), atol=0.01, rtol=0)
    assert (first[:, 0] != second[:, 0]).all()
    assert ((first + second)[:, 1] >= 1).all()
    assert ((first + second)[:, 2] <= 1).all()


def test_disarm_stays_finite_where_a_patch_is_sure() -> None:
    logits = torch.tensor([[60.0, -60.0]], requires_grad=True)
    estimator = build_estimator("disarm")
    masks = estimator.propose(logits, 1.0, torch.Generator().manual_seed(0))
    loss = estimator.loss(logits, 1.0, masks, torch.tensor([[1.0], [0.0]]))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.isfinite()
    assert gradient.isfinite().all()


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


def test_a_price_per_patch_has_the_exact_gradient_of_its_cost() -> None:
    prices = torch.linspace(0, 3, 16)
    reward = build_reward("priced", penalty=0, price=0.2, patch_prices=prices)
    logits = torch.randn(3, 16, requires_grad=True)
    cost = reward.cost(torch.sigmoid(logits))
    cost.backward()  # type: ignore[no-untyped-call]
    s = torch.sigmoid(logits.detach())
    torch.testing.assert_close(cost.detach(), 0.2 * (prices * s).sum() / 48)
    torch.testing.assert_close(logits.grad, 0.2 * prices * s * (1 - s) / 48)
    even = build_reward("priced", penalty=0, price=0.2, patch_prices=torch.ones(16))
    torch.testing.assert_close(even.cost(s), build_reward("priced", penalty=0, price=0.2).cost(s))


def test_hits_are_right_or_wrong() -> None:
    reward = build_reward("priced_hits", penalty=0, price=0.2)
    scores = torch.tensor([[0.25, 0.75], [0.25, 0.75]]).log()
    assert reward.utility(scores, torch.tensor([1, 0]), torch.ones(2, 16)).tolist() == [1.0, 0.0]


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(RecipeError, match="self_critical, rloo, disarm, straight_through"):
        build_estimator("reinforce")
    with pytest.raises(RecipeError, match="paper, priced or priced_hits"):
        build_reward("free", penalty=0, price=0)
