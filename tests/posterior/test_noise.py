"""How cells scatter, against a loop over the cells of each series and against its own draws.

The oracle and the package compute the same float64 formulas in another order: EXACT. Of 60,000
draws, signs and ranks are off by 1 / √60,000 = .004, of which STRAY is five. Squares of Student-t
have no variance, so that their mean is off by 2 % typically and by more now and then: MOMENT.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats
from synthetic import make_behaviour, make_cells

from rational_icl.posterior.coordinates import Response, at_the_edge, respond, seen_at, weights_of
from rational_icl.posterior.noise import StudentResiduals, log_upper_tail, log_upper_tail_of_four

EXACT = 1e-10
STRAY = 0.02
MOMENT = 0.1
QUADRATURE = 1e-9  # the trapezoid rule on an analytic function that falls off at both ends
LEAST_P = 1e-3  # of tests of distributions; seeds are literals, so that they do not fail by chance
FREEDOM = 4
NEAREST = 0.9999  # the correlation of two cells at the same step

KINDS = [
    StudentResiduals(correlated=correlated, heavy_tails=heavy)
    for correlated in (True, False)
    for heavy in (True, False)
]
DEFAULT = StudentResiduals()
LENGTHS = [5, 1, 5, 5]  # of series
MANY = [1000] * 60


def response(lengths: list[int], num_strategies: int, seed: int) -> Response:
    """Series of the given lengths, each of a task diversity of its own; invented numbers."""
    size, rng = sum(lengths), np.random.default_rng(seed)
    series = np.repeat(np.arange(len(lengths)), lengths)
    first = np.diff(series, prepend=-1) > 0
    return Response(
        coordinate=2 * rng.standard_normal((size, num_strategies - 1)),
        variance=rng.uniform(0, 0.3, size),
        softening=rng.uniform(0.01, 0.3, size),
        log_jacobian=rng.standard_normal(size),
        outward=np.zeros((size, num_strategies - 1)),
        within=np.tile(np.eye(num_strategies - 1), (size, 1, 1)),
        gap=np.where(first, 1.0, rng.uniform(0, 0.3, size)),
        first=first,
        series=series,
        diversity=np.arange(len(lengths)),
        log_num_tasks=np.log(np.arange(len(lengths)) + 4.0),
        used=np.ones(size, dtype=bool),
    )


def alone(whole: Response, series: int) -> Response:
    """One series, without the others."""
    here = whole.series == series
    found = jax.tree.map(lambda leaf: leaf[here] if len(leaf) == len(here) else leaf[:1], whole)
    return eqx.tree_at(lambda one: one.series, found, np.zeros(here.sum(), dtype=int))


def noise(observed: Response, seed: int) -> dict[str, np.ndarray]:
    """The same within a series, as in a condition."""
    rng, series = np.random.default_rng(seed), observed.series
    sd = rng.uniform(0.1, 0.5, series.max() + 1)
    length = rng.uniform(0.05, 0.25, series.max() + 1)
    return {"scale_residual": sd[series], "correlation_length": length[series]}


def log_weights(size: int, num_strategies: int, seed: int) -> np.ndarray:
    return np.log(np.random.default_rng(seed).dirichlet(np.ones(num_strategies), size))


def predicted(log_weight: np.ndarray, softening: np.ndarray) -> np.ndarray:
    """y of weights, cell by contrast: √2 times isometric log-ratios of what is softened."""
    logs = np.log(np.exp(log_weight) + softening[:, None]).T
    contrasts = [
        np.sqrt(2 / (i * (i + 1))) * (logs[:i].sum(axis=0) - i * logs[i])
        for i in range(1, len(logs))
    ]
    return np.array(contrasts).T


def scales(kind: StudentResiduals, noise, observed: Response) -> np.ndarray:
    """Such that the variance of y is twice that of the scale of residuals, and that of measuring.

    Of normal residuals, that of the scale itself.
    """
    share = 0.5 if kind.heavy_tails else 1.0
    return np.sqrt(noise["scale_residual"] ** 2 + share * observed.variance)


def oracle(kind: StudentResiduals, noise, log_weight, observed: Response) -> np.ndarray:
    """Cell by cell, each normal or Student-t around what the cell before it leads to expect."""
    found, residuals = [], []
    for c, centre in enumerate(predicted(log_weight, observed.softening)):
        y = observed.coordinate[c]
        scale = scales(kind, noise, observed)[c]
        residuals.append((y - centre) / scale)
        rho = 0.0
        if kind.correlated and not observed.first[c]:
            rho = NEAREST * np.exp(-observed.gap[c] / noise["correlation_length"][c])
            centre = centre + scale * rho * residuals[c - 1]
        shape = scale**2 * (1 - rho**2) * np.eye(len(y))
        if kind.heavy_tails:
            density = stats.multivariate_t(centre, shape, df=FREEDOM).logpdf(y)
        else:
            density = stats.multivariate_normal(centre, shape).logpdf(y)
        found.append(density + observed.log_jacobian[c])
    return np.array(found)


@eqx.filter_jit
def density_in_jax(kind: StudentResiduals, *given):
    return kind.log_density(*given)


@eqx.filter_jit
def draws_in_jax(kind: StudentResiduals, seed: int, *given):
    return kind.simulate(jax.random.key(seed), *given)


def log_density(*given) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(density_in_jax(*given))


def simulate(kind: StudentResiduals, seed: int, *given) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(draws_in_jax(kind, jnp.asarray(seed), *given))


@pytest.mark.parametrize(
    ("kind", "num_strategies"), [(DEFAULT, 2), *((kind, 3) for kind in KINDS)], ids=repr
)
def test_densities_equal_those_of_a_loop_over_cells(kind: StudentResiduals, num_strategies: int):
    observed = response(LENGTHS, num_strategies, 321)
    log_weight = log_weights(16, num_strategies, 322)
    found = log_density(kind, noise(observed, 323), log_weight, observed)
    expected = oracle(kind, noise(observed, 323), log_weight, observed)
    np.testing.assert_allclose(found, expected, rtol=0, atol=EXACT)


def test_densities_of_series_add_up():
    observed, log_weight = response(LENGTHS, 3, 324), log_weights(16, 3, 325)
    scatter = noise(observed, 326)
    together = log_density(DEFAULT, scatter, log_weight, observed)
    total = 0.0
    for series in range(len(LENGTHS)):
        here = observed.series == series
        part = {name: value[here] for name, value in scatter.items()}
        one = log_density(DEFAULT, part, log_weight[here], alone(observed, series))
        np.testing.assert_allclose(one, together[here], rtol=0, atol=EXACT)
        total += one.sum()
    np.testing.assert_allclose(total, together.sum(), rtol=0, atol=EXACT)


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_a_cell_bears_on_the_next_one_of_its_series_only(kind: StudentResiduals):
    """On the next if residuals are correlated; cells 4 and 10 are the last of their series."""
    observed, log_weight = response(LENGTHS, 3, 327), log_weights(16, 3, 328)
    scatter = noise(observed, 329)
    before = log_density(kind, scatter, log_weight, observed)
    for cell, bears_on in ((4, [4]), (7, [7, 8]), (10, [10])):
        coordinate = observed.coordinate + (np.arange(16) == cell)[:, None]
        other = eqx.tree_at(lambda one: one.coordinate, observed, coordinate)
        changed = np.flatnonzero(log_density(kind, scatter, log_weight, other) != before)
        assert changed.tolist() == (bears_on if kind.correlated else [cell])


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_the_density_of_a_cell_integrates_to_one(kind: StudentResiduals):
    """Over y, of a first cell and of the one after it; that of weights is |dy/dw| times as much."""
    away = np.linspace(-9, 9, 601)
    pair, log_weight = response([2], 2, 330), log_weights(2, 2, 331)
    scatter = {name: np.tile(value, len(away)) for name, value in noise(pair, 332).items()}
    every = jax.tree.map(lambda leaf: np.concatenate([leaf] * len(away)), pair)
    for cell in (0, 1):
        coordinate = every.coordinate.copy()
        coordinate[cell::2, 0] += np.sinh(away)
        here = eqx.tree_at(lambda one: one.coordinate, every, coordinate)
        found = log_density(kind, scatter, np.tile(log_weight, (len(away), 1)), here)
        density = np.exp(found - here.log_jacobian)[cell::2]
        whole = np.trapezoid(density * np.cosh(away), away)
        np.testing.assert_allclose(whole, 1, rtol=0, atol=QUADRATURE)


@pytest.mark.parametrize("kind", [DEFAULT, KINDS[1], KINDS[3]], ids=repr)
def test_draws_have_the_variance_the_correlation_and_the_tails(kind: StudentResiduals):
    observed = response(MANY, 3, 333)
    # softened so little that the simplex ends too far away to be met
    observed = eqx.tree_at(lambda one: one.softening, observed, np.full(len(observed), 1e-30))
    log_weight, scatter = log_weights(len(observed), 3, 334), noise(observed, 335)
    scale = scales(kind, scatter, observed)
    y = simulate(kind, 336, scatter, log_weight, observed)
    z = (y - predicted(log_weight, observed.softening)) / scale[:, None]
    rho = NEAREST * np.exp(-observed.gap / scatter["correlation_length"])
    rho = np.where(observed.first, 0.0, rho * kind.correlated)

    inflated = FREEDOM / (FREEDOM - 2) if kind.heavy_tails else 1.0
    np.testing.assert_allclose((z**2).mean(axis=0), inflated, rtol=MOMENT)
    neighbours = (z[1:] * z[:-1]).mean(axis=0) / inflated
    np.testing.assert_allclose(neighbours, rho[1:].mean(), rtol=0, atol=MOMENT)

    own = z / np.sqrt(1 - rho**2)[:, None]
    own[1:] -= (rho / np.sqrt(1 - rho**2))[1:, None] * z[:-1]
    squared = (own**2).sum(axis=1) / 2
    radial = stats.f(2, FREEDOM) if kind.heavy_tails else stats.chi2(2, scale=1 / 2)
    assert stats.kstest(squared, radial.cdf).pvalue > LEAST_P
    np.testing.assert_allclose((own > 0).mean(axis=0), 0.5, rtol=0, atol=STRAY / 2)
    ranks = stats.rankdata(own[1:, 0]), stats.rankdata(z[:-1, 0])
    np.testing.assert_allclose(np.corrcoef(*ranks)[0, 1], 0, rtol=0, atol=STRAY)


def test_draws_follow_from_their_key():
    observed, log_weight = response(MANY, 3, 337), log_weights(sum(MANY), 3, 338)
    observed = eqx.tree_at(lambda one: one.softening, observed, np.full(len(observed), 1e-30))
    scatter = noise(observed, 339)
    first, again, other = (
        simulate(DEFAULT, seed, scatter, log_weight, observed) for seed in (340, 340, 341)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


@pytest.mark.parametrize("kind", KINDS[:2], ids=repr)
def test_weights_of_zero_and_one_have_finite_densities_and_slopes(kind: StudentResiduals):
    """Observed weights at the corners, and predictions 800 nats inside and outside of them."""
    cells = make_cells([4.0], steps=[1, 10, 100, 1000])
    corner = np.eye(3)[[0, 0, 2, 1]]
    exact = np.zeros((4, 3, 3))
    behaviour = make_behaviour(cells, best_weight=corner, best_weight_covariance=exact)
    observed = respond(cells, behaviour, np.ones(4, dtype=bool), ["id"])[1]

    @eqx.filter_jit
    def slopes(sd, length, logit):
        def total(given):
            sd, length, logit = given
            scatter = {
                "scale_residual": sd * jnp.ones(4),
                "correlation_length": length * jnp.ones(4),
            }
            return kind.log_density(scatter, jax.nn.log_softmax(logit), observed).sum()

        return jax.value_and_grad(total)((sd, length, logit))

    logit = 800.0 * np.array([[1, 0, 0], [0, 0, 1], [1, 0, 0], [-1, 1, 0]])
    with jax.enable_x64(True):
        value, slope = slopes(jnp.asarray(0.2), jnp.asarray(0.1), jnp.asarray(logit))
    assert np.isfinite(value)
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in slope)
    assert float(slope[0]) != 0


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_every_parameter_has_a_prior_and_no_other_is_used(kind: StudentResiduals):
    observed, log_weight = response(LENGTHS, 3, 342), log_weights(16, 3, 343)
    scatter = noise(observed, 344)
    whole = log_density(kind, scatter, log_weight, observed)
    for name in scatter:
        half = scatter | {name: 0.5 * scatter[name]}
        moves = (log_density(kind, half, log_weight, observed) != whole).any()
        assert moves == (name in kind.priors)


def test_the_prior_keeps_the_correlation_below_a_quarter_of_a_run():
    prior = DEFAULT.priors["correlation_length"]
    inside = [bool(prior.support(length)) for length in (-0.01, 0.01, 0.24, 0.26)]
    assert inside == [False, True, True, False]


@pytest.mark.parametrize("value", [-1e6, -30.0, -0.5, 0.0, 1e-9, 0.5, 30.0, 1e6])
def test_upper_tails_are_exact_and_so_are_their_slopes(value: float):
    def both(function, *freedom):
        with jax.enable_x64(True):
            at = jnp.array([value])
            slope = jax.grad(lambda t: function(t, *freedom).sum())(at)
            return np.concatenate([function(at, *freedom), slope])

    for freedom in (4, 5, 7):
        law = stats.t(freedom)
        expected = [law.logsf(value), -np.exp(law.logpdf(value) - law.logsf(value))]
        if value > 100:  # where scipy has no digits left: the leading power of the tail
            expected = [law.logpdf(value) + np.log(value / freedom), -freedom / value]
        found = both(log_upper_tail, np.array([float(freedom)]))
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-15)
        if freedom == 4:
            np.testing.assert_allclose(
                both(log_upper_tail_of_four), expected, rtol=1e-8, atol=1e-15
            )


def with_weights(observed: Response, weight: np.ndarray) -> Response:
    """The same cells with other observed weights."""
    softening = np.full(len(weight), 0.02)
    seen = seen_at(weight, softening)
    names = ("softening", *seen._fields)
    return eqx.tree_at(
        lambda one: tuple(getattr(one, name) for name in names), observed, (softening, *seen)
    )


@pytest.mark.parametrize("before", [0.4, 0.0, 1.0])
@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_all_weights_of_two_have_a_probability_of_one(kind: StudentResiduals, before: float):
    """The density of weights between 0 and 1 and the probability of both, given a cell before."""
    end = np.log(51) - 1e-6  # where weights are just above what counts as zero
    line = np.linspace(-end, end, 4001)
    inside = 1.04 / (1 + np.exp(-line)) - 0.02
    second = np.concatenate([inside, [0.0, 1.0]])
    first = np.empty(2 * len(second))
    first[::2], first[1::2] = before, second
    pair = jax.tree.map(lambda leaf: np.concatenate([leaf] * len(second)), response([2], 2, 345))
    pair = with_weights(pair, np.stack([first, 1 - first], axis=1))
    scatter = {name: np.tile(value, len(second)) for name, value in noise(pair, 332).items()}
    scatter = {name: np.full(len(first), value[0]) for name, value in scatter.items()}
    log_weight = np.tile(np.log([[0.5, 0.5], [0.99, 0.01]]), (len(second), 1))
    found = log_density(kind, scatter, log_weight, pair)[1::2]
    slope = (inside + 0.02) * (1.02 - inside) / 1.04  # dw/dy
    whole = np.trapezoid(np.exp(found[:-2]) * slope, line) + np.exp(found[-2:]).sum()
    np.testing.assert_allclose(whole, 1, rtol=0, atol=1e-5)
    if before == 1.0:
        assert np.exp(found[-1]) > 1e-2


@pytest.mark.parametrize("kind", [DEFAULT, KINDS[1]], ids=repr)
def test_a_censored_cell_of_three_has_the_probability_beyond_its_edge(kind: StudentResiduals):
    """With one weight zero, the integral of the density in y from the bound outward."""
    weight = np.array([[0.6, 0.4, 0.0]])
    cell = with_weights(response([1], 3, 346), weight)
    scatter, log_weight = noise(cell, 347), np.log([[0.57, 0.40, 0.03]])
    found = log_density(kind, scatter, log_weight, cell)
    away = np.sinh(np.linspace(0, 8, 4001))
    beyond = jax.tree.map(lambda leaf: np.concatenate([leaf] * len(away)), cell)
    inside = with_weights(beyond, np.tile([[0.3, 0.3, 0.4]], (len(away), 1)))
    coordinate = cell.coordinate + away[:, None] * cell.outward
    inside = eqx.tree_at(lambda one: one.coordinate, inside, coordinate)
    many = {name: np.tile(value, len(away)) for name, value in scatter.items()}
    density = log_density(kind, many, np.tile(log_weight, (len(away), 1)), inside)
    whole = integrate.simpson(np.exp(density - inside.log_jacobian), x=away)
    np.testing.assert_allclose(found - cell.log_jacobian, np.log(whole), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", [DEFAULT, KINDS[3]], ids=repr)
def test_draws_are_at_the_edge_as_often_as_densities_say(kind: StudentResiduals):
    """A pair of cells many times over: the second given whether the first is at its bound."""
    pairs = 20_000
    observed = response([2] * pairs, 2, 348)
    length = np.tile([1.0, 0.02], pairs)
    observed = eqx.tree_at(
        lambda one: (one.gap, one.variance), observed, (length, 0.02 + 0 * length)
    )
    observed = with_weights(observed, np.full((2 * pairs, 2), 0.5))
    scatter = {
        "scale_residual": np.full(2 * pairs, 0.4), "correlation_length": np.full(2 * pairs, 0.1)
    }  # fmt: skip
    log_weight = np.tile(np.log([[0.98, 0.02]]), (2 * pairs, 1))
    y = simulate(kind, 349, scatter, log_weight, observed)
    weight = weights_of(y, observed.softening)[:, 0].reshape(pairs, 2)
    at_end = weight > 1 - 1e-9
    corner = with_weights(observed, np.tile([[1.0, 0.0]], (2 * pairs, 1)))
    expected = np.exp(log_density(kind, scatter, log_weight, corner)[:2])
    np.testing.assert_allclose(at_end[:, 0].mean(), expected[0], rtol=0, atol=STRAY)
    np.testing.assert_allclose(at_end[at_end[:, 0], 1].mean(), expected[1], rtol=0, atol=STRAY)
    if kind.correlated:
        assert expected[1] > expected[0] + 0.1
    with jax.enable_x64(True):
        np.testing.assert_allclose(at_the_edge(y, observed.softening), y, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", [DEFAULT, KINDS[1]], ids=repr)
def test_without_noise_draws_are_what_is_predicted(kind: StudentResiduals):
    observed = with_weights(response(LENGTHS, 3, 350), np.full((16, 3), 1 / 3))
    observed = eqx.tree_at(lambda one: one.variance, observed, np.zeros(16))
    weight = np.random.default_rng(351).dirichlet(np.ones(3), 16)
    weight[3] = [1, 0, 0]
    none = {"scale_residual": np.zeros(16), "correlation_length": np.full(16, 0.1)}
    with np.errstate(divide="ignore"):
        y = simulate(kind, 352, none, np.log(weight), observed)
    np.testing.assert_allclose(weights_of(y, observed.softening), weight, rtol=0, atol=1e-12)
