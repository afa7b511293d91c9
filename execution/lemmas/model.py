"""The clearing house's formulas, once for numbers and once for z3.

Each function restates one of the Rust code, named in its first line. With `Numbers` it computes
what the code computes; `vectors.txt` holds such values, and a unit test of the crate
(`execution/src/lemmas.rs`) compares the code with them. With `Terms` it gives a z3 term, and
`prove.py` proves the lemmas about it. So a lemma is about the formula that runs.
"""
import z3

PPM = 1_000_000
TICKS_MAX = 2**32 - 1
LOTS_MAX = 2**30
QUOTE_MAX = 2**90
FUNDING_MAX = 2**80
MARKETS_MAX = 256
ACCOUNTS_MAX = 2**24
PPB = 10**9
HORIZON_MAX = 2**10
I128_MAX = 2**127 - 1


class Numbers:
    """Python's integers: no overflow, `//` rounds down."""

    def floor(self, a, b):
        return a // b

    def truncate(self, a, b):
        return a // b if a >= 0 else -(-a // b)

    def ceil(self, a, b):
        return (a + (b - 1)) // b

    def least(self, a, b):
        return min(a, b)

    def most(self, a, b):
        return max(a, b)


class Terms:
    """z3 terms. A quotient is a fresh variable with the two bounds that rounding gives; that
    `div_up` obeys those of `ceil` is a lemma of its own. `facts` collects the bounds."""

    def __init__(self, sort=z3.Real):
        self.sort, self.facts, self.count = sort, [], 0

    def fresh(self, name="q"):
        self.count += 1
        return self.sort(f"{name}!{self.count}")

    def floor(self, a, b):
        q = self.fresh()
        self.facts += [q * b <= a, a < q * b + b]
        return q

    def truncate(self, a, b):
        q = self.fresh()
        self.facts += [z3.If(a >= 0, z3.And(q * b <= a, a < q * b + b), z3.And(q * b >= a, a > q * b - b))]
        return q

    def ceil(self, a, b):
        q = self.fresh()
        self.facts += [q * b >= a, q * b < a + b]
        return q

    def least(self, a, b):
        return z3.If(a < b, a, b)

    def most(self, a, b):
        return z3.If(a > b, a, b)


def fee(k, notional, ppm):
    """units.rs, `fee`: rounded up."""
    return k.ceil(notional * ppm, PPM)


def unsettled(k, paid_at, index, lots):
    """account.rs, `Position::unsettled`: rounded down."""
    return k.floor((paid_at - index) * lots, PPM)


def step_ticks(k, mark, step_ppm):
    """mark.rs, `step_ticks`: the most that a mark moves, rounded down, but a tick at least."""
    return k.most(k.floor(mark * step_ppm, PPM), k.least(step_ppm, 1))


def margin_ticks(k, mark, step_ppm):
    """mark.rs, `Market::margin_ticks`: the price that margins are taken at, for a step > 0."""
    return k.most(mark, k.ceil(PPM, step_ppm))


def worst(step, funding, closing_fee):
    """params.rs, `MarketParams::validate`: the left side of the envelope, in ppm²."""
    return step * PPM + (funding + closing_fee) * (PPM + step)


def margin(k, notional, base_ppm, tiers):
    """params.rs, `MarketParams::margin`: × ppm; tiers are (above, ppm)."""
    total = notional * base_ppm
    for above, ppm in tiers:
        total += k.most(notional - above, 0) * ppm
    return total


def ratio_ppm(k, equity, maintenance):
    """liquidation.rs, `ratio_ppm`: equity over maintenance, rounded down, within ±100 %."""
    whole = k.most(maintenance, 1)
    bound = k.floor(whole, PPM) + 1
    held = k.most(k.least(equity, bound), -bound)
    return k.most(k.least(k.floor(held * PPM * PPM, whole), PPM), -PPM)


def ticks_given(k, share_ppm, freed, lots):
    """liquidation.rs, `ticks_given`: rounded down."""
    return k.floor(share_ppm * freed, lots * PPM * PPM)


def liquidation_fee(k, value, fee_ppm, better):
    """liquidation.rs, `House::close`: the fee, never more than what a fill is better."""
    return k.least(fee(k, value, fee_ppm), better)


def trade_part(k, cost, closing, held):
    """account.rs, `Position::trade`: the cost of the lots closed, cut towards zero."""
    return k.truncate(cost * closing, held)


def share_of(k, value, part, whole):
    """units.rs, `share_of`: value · part / whole in two halves of part."""
    half = 2**31
    high, low = k.floor(part, half), None
    low = part - high * half
    times = k.floor(value, whole)
    rest = value - times * whole
    upper = rest * high
    upper_times = k.floor(upper, whole)
    lower = (upper - upper_times * whole) * half + rest * low
    return times * part + upper_times * half + k.floor(lower, whole)


def variance(k, before, square, shift):
    """predictive.rs, `Predictor::sample`: an arithmetic shift rounds down."""
    return before + k.floor(square - before, 2**shift)


def additions(k, was, wanted, rise, fall):
    """predictive.rs, `Predictor::adjust`: new additions to initial and maintenance margins."""
    initial = k.most(k.least(wanted, was + rise), k.most(was - fall, 0))
    return initial, k.least(was, initial)
