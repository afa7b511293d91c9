"""Proves the lemmas that docs/execution.md names, with z3.

Every lemma comes with at least one control: the same claim about a formula changed in one place,
which z3 must refute by an example. A lemma that is not proved, and a control that is not refuted,
fail the run. `--vectors` writes the values that a unit test holds the code against; without it they
must be up to date.
"""
import argparse
import pathlib
import random
import sys
import time

import z3

import model as m
from model import PPM

VECTORS = pathlib.Path(__file__).with_name("vectors.txt")
# A lemma takes far less; one that takes longer counts as not proved.
TIMEOUT_MS = 20_000

results = []


def check(name, facts, claim, *, refuted=False):
    """Proves `claim` from `facts`, or finds the example against it that a control must have."""
    solver = z3.Solver()
    solver.set("timeout", TIMEOUT_MS)
    solver.add(*facts)
    # Facts that contradict each other would prove anything.
    if not refuted and solver.check() == z3.unsat:
        results.append((name, False, "its premises contradict each other"))
        return
    solver.add(z3.Not(claim))
    start = time.monotonic()
    answer = solver.check()
    took = f"{time.monotonic() - start:.2f} s"
    wanted = z3.sat if refuted else z3.unsat
    what = {"unsat": "proved", "sat": "refuted"}.get(str(answer), "undecided")
    if answer == z3.sat and not refuted:
        took += f", example {solver.model()}"
    results.append((("  control: " if refuted else "") + name, answer == wanted, f"{what}, {took}"))


def control(name, facts, claim):
    check(name, facts, claim, refuted=True)


ints, reals = z3.Ints, z3.Reals


def rounding():
    """What rounds, rounds against the user."""
    v, by = ints("v by")
    up = v + (by - 1)
    # `value as u64` keeps the low 64 bits; the fast path is taken where nothing is lost.
    small, divisor = up % 2**64, by % 2**64
    code = z3.If(z3.And(small == up, divisor == by), small / divisor, up / by)
    room = [0 <= v, v < 2**126, 0 < by, by < 2**64]
    check("div_up: both paths agree", room, code == up / by)
    control("div_up whose test looks at the divisor only", room, z3.If(divisor == by, small / divisor, up / by) == up / by)
    at_ppm = [0 <= v, v < 2**126]
    q = (v + (PPM - 1)) / PPM
    check("div_up: the least quotient that covers", at_ppm, z3.And(q * PPM >= v, q * PPM < v + PPM))
    control("div_up rounded down", at_ppm, (v / PPM) * PPM >= v)

    low = ((v + 2**63) % 2**64) - 2**63
    by_room = [v > -(2**92), v < 2**92, 0 <= by, by < 2**32]
    product = z3.If(z3.And(low == v, by <= 2**63 - 1), low * by, v * by)
    check("times: both paths agree", by_room, product == v * by)
    control("times that always takes the short path", by_room, low * by == v * by)

    k = m.Terms()
    n, ppm = reals("n ppm")
    rates = [n >= 0, ppm >= 0, ppm <= PPM]
    due = m.fee(k, n, ppm)
    check("fee: at least the exact one, by less than a quantum more", rates + k.facts, z3.And(due * PPM >= n * ppm, due * PPM < n * ppm + PPM))
    k = m.Terms()
    down = k.floor(n * ppm, PPM)
    control("fee rounded down", rates + k.facts, down * PPM >= n * ppm)

    # Positions of one market add up to nothing; what they settle must not add up to more.
    a, b, c = ints("a b c")
    index = [a + b + c == 0]

    def settled(k):
        return sum(k.floor(x, PPM) for x in (a, b, c))

    k = m.Terms(z3.Int)
    total = settled(k)
    check("unsettled: the purse is never short", index + k.facts, total <= 0)

    class CutOff(m.Terms):
        floor = m.Terms.truncate

    k = CutOff(z3.Int)
    total = settled(k)
    control("unsettled cut towards zero", index + k.facts, total <= 0)
    # Settling in two steps never gains on settling once.
    k = m.Terms(z3.Int)
    twice, once = k.floor(a, PPM) + k.floor(b, PPM), k.floor(a + b, PPM)
    check("unsettled: settling often gains nothing", k.facts, z3.And(twice <= once, twice >= once - 1))

    k = m.Terms()
    cost, closing, held = reals("cost closing held")
    some = [cost >= 0, closing >= 0, closing <= held, held >= 1]
    part = m.trade_part(k, cost, closing, held)
    check("trade: the cost of what stays open keeps its sign", some + k.facts + [part >= 0], z3.And(part <= cost))
    ticks, lots = ints("ticks lots")
    real, cost, part = ticks * lots - z3.Int("part"), z3.Int("cost"), z3.Int("part")
    check("trade: what is closed and what stays make the whole", [], (cost - part) - real == cost - ticks * lots)


def tiers():
    """Tiers only add margin, and without a jump."""
    k = m.Terms()
    n, more, base = reals("n more base")
    steps = [(z3.Real(f"above{i}"), z3.Real(f"add{i}")) for i in range(2)]
    facts = [n >= 0, more >= 0, base >= 0] + [x >= 0 for step in steps for x in step]
    check("margin: at least the base", facts, m.margin(k, n, base, steps) >= n * base)
    check("margin: does not fall as a position grows", facts, m.margin(k, n + more, base, steps) >= m.margin(k, n, base, steps))

    def replacing(n):
        """Tiers that replaced the rate below them instead of adding to it."""
        above, add = steps[0]
        return z3.If(n > above, n * add, n * base)

    control("tiers that replace the rate", facts, replacing(n) >= n * base)


def envelope():
    """An account at its maintenance margin is still solvent after one block's worst."""

    # First step: a move, a tick at least, is within the step of the price that margins are taken
    # at. Two cases, as `step_ticks` has two.
    def moves(margin_ticks):
        k = m.Terms()
        mark, step = reals("mark step")
        move, at = m.step_ticks(k, mark, step), margin_ticks(k, mark, step)
        return [mark >= 1, step >= 1, step <= PPM, *k.facts], z3.And(move * PPM <= at * step, move >= 1, at >= mark)

    check("envelope: a move is within the step of the price of margins", *moves(m.margin_ticks))
    control("envelope: a move of one tick with margins at the mark", *moves(lambda k, mark, step: mark))

    def story(left_side, at_margin=True):
        k = m.Terms()
        lots, mark, step, cap, closing, mm, equity = reals("lots mark step cap closing mm equity")
        rates = [z3.And(x >= 0, x <= PPM) for x in (step, cap, closing, mm)]
        move, above = reals("move above")
        n = lots * mark
        # Funding and fee are at the mark that has moved, up in the worst case.
        after = n + lots * move
        lost = lots * move + k.ceil(after * cap, PPM) + m.fee(k, after, closing)
        facts = [lots >= 1, mark >= 1, *rates, *k.facts]
        # Margins are taken at a price that is by `above` over the mark. The first step's claim,
        # times lots: a product that z3 need not look for.
        size = n + lots * above
        facts += [above >= 0, lots * above >= 0, lots * move * PPM <= size * step, lots * move >= 0]
        held = size if at_margin else n
        facts += [left_side(step, cap, closing) <= mm * PPM, equity * PPM >= held * mm]
        # One quantum for each of the two quotients that are rounded up.
        return facts, equity - lost > -2

    check("envelope: one step, one funding and the closing fee are covered", *story(m.worst))
    control("envelope with margins at the mark and a move of one tick", *story(m.worst, at_margin=False))
    control("envelope with funding at the mark before the step", *story(lambda step, cap, closing: (step + cap) * PPM + closing * (PPM + step)))
    control("envelope with the fee at the mark before the step", *story(lambda step, cap, closing: step * PPM + cap * (PPM + step) + closing * PPM))


def close():
    """Closing at the bankruptcy price or better never makes an account's ratio worse."""

    def position():
        """Liquidatable, and what closing frees is a part of the whole."""
        equity, whole, freed, lots = reals("equity whole freed lots")
        return equity, whole, freed, lots, [whole >= 1, lots >= 1, freed >= 0, freed <= whole, equity * PPM < whole]

    # First step: the ratio, as rounded, is not above the true one.
    k = m.Terms()
    equity, whole, freed, lots, facts = position()
    at = m.ratio_ppm(k, equity, whole)
    above_cut = [equity * PPM >= -whole]
    check("close: the ratio is not above the true one, down to −100 %", facts + above_cut + k.facts, at * whole <= equity * PPM * PPM)

    # Second step, of any such ratio: at the bankruptcy price equity' / (whole − freed) is not
    # below equity / whole. Written without a division.
    def priced(give):
        k = m.Terms()
        equity, whole, freed, lots, facts = position()
        at = z3.Real("at")
        after = equity - give(k, at, freed, lots) * lots
        return facts + k.facts + [at * whole <= equity * PPM * PPM], after * whole >= equity * (whole - freed)

    check("close_never_hurts: equity / maintenance does not fall", *priced(m.ticks_given))
    control("close at a bankruptcy price rounded the other way", *priced(lambda k, at, freed, lots: k.ceil(at * freed, lots * PPM * PPM)))
    control("close that gives the whole margin", *priced(lambda k, at, freed, lots: k.floor(freed, lots * PPM)))

    # Third step: a fill at the bankruptcy price or better, and its fee, cost no more than that.
    def filled(charge):
        k = m.Terms()
        bankruptcy, loss, lots, value, fee_ppm = reals("bankruptcy loss lots value fee_ppm")
        facts = [lots >= 1, loss <= bankruptcy, value >= 0, fee_ppm >= 0, fee_ppm <= PPM]
        due = charge(k, value, fee_ppm, (bankruptcy - loss) * lots)
        return facts + k.facts, loss * lots + due <= bankruptcy * lots

    check("close: fee included, costs at most the bankruptcy price", *filled(m.liquidation_fee))
    control("close with a fee that is not capped", *filled(lambda k, value, fee_ppm, better: m.fee(k, value, fee_ppm)))

    # Below −100 % the ratio is cut, and what holds is that equity itself does not fall.
    k = m.Terms()
    equity, whole, freed, lots, facts = position()
    given = m.ticks_given(k, m.ratio_ppm(k, equity, whole), freed, lots)
    check("close: below zero, equity does not fall", facts + k.facts + [equity < 0], given * lots <= 0)
    control("close that keeps the ratio below −100 % as well", facts + k.facts, (equity - given * lots) * whole >= equity * (whole - freed))


def undercollateralised():
    """The rule for an account below its initial margin lets no ratio fall."""
    now, then, mm_now, mm_then = reals("now then mm_now mm_then")
    facts = [mm_now > 0, mm_then > 0, mm_now <= mm_then]
    accepts = now * mm_then >= then * mm_now
    claim = z3.Implies(accepts, now / mm_now >= then / mm_then)
    check("may_follow: equity / maintenance does not fall", facts, claim)
    # What the rule was before: maintenances cut to whole quanta, plus one.
    k = m.Terms(z3.Int)
    now, then, mm_now, mm_then = ints("now then mm_now mm_then")
    scale = lambda micro: k.floor(micro, PPM) + 1
    cut = now * scale(mm_then) >= then * scale(mm_now)
    facts = [mm_now > 0, mm_then > mm_now, mm_then <= 4 * PPM, then > 0, then < 8, now > 0, now < 8] + k.facts
    control("may_follow on whole quanta", facts, z3.Implies(cut, now * mm_then >= then * mm_now))


def predicted():
    """A predicted margin only adds, and no account can be liquidated for a rise it could not see."""
    before, square = ints("before square")
    facts = [0 <= before, before <= m.PPB**2, 0 <= square, square <= m.PPB**2]
    for shift in (1, 4, 12):
        k = m.Terms(z3.Int)
        after = m.variance(k, before, square, shift)
        check(f"variance: stays within 0 and 1, shift {shift}", facts + k.facts, z3.And(0 <= after, after <= m.PPB**2))
    k = m.Terms(z3.Int)
    after = m.variance(k, before, square, 4)
    control("variance that rounds down once more", facts + k.facts, after - 1 >= 0)

    was, seen, wanted, rise, fall, cap, base, more = ints("was seen wanted rise fall cap base more")
    facts = [0 <= seen, seen <= was, was <= cap, 0 <= wanted, wanted <= cap, rise > 0, fall > 0, 0 <= base, base < more]
    initial, maintenance = m.additions(m.Terms(z3.Int), was, wanted, rise, fall)
    claim = z3.And(maintenance >= 0, maintenance <= was, maintenance <= initial, initial <= cap, initial <= was + rise)
    check("additions: maintenance follows what initial margins had", facts, claim)
    check("additions: initial margins stay above maintenance", facts, more + initial > base + maintenance)
    control("additions that count for both at once", facts, initial <= was)
    ratio, deviation, root = ints("ratio deviation root")
    facts = [0 <= ratio, ratio < 2**32, 0 <= deviation, deviation <= m.PPB, 0 <= root, root * root <= m.HORIZON_MAX * PPM * PPM]
    check("predicted_ppm: fits", facts + [root <= 32 * PPM], ratio * deviation * root <= m.I128_MAX)


def widths():
    """No product or sum leaves 128 bits inside the bounds of units.rs and params.rs."""
    fits = lambda x: z3.And(x <= m.I128_MAX, x >= -m.I128_MAX)
    t, lots = ints("t lots")
    inside = [0 <= t, t <= m.TICKS_MAX, -m.LOTS_MAX <= lots, lots <= m.LOTS_MAX]
    value = t * lots
    check("notional: under 2^62", inside, z3.And(value < 2**62, value > -(2**62)))

    def equity(funding_max):
        """Collateral and 256 positions: value, cost, and funding not settled."""
        c, profit, due = ints("c profit due")
        # A collateral is at most all deposits and what all positions may have made real.
        most = m.QUOTE_MAX + m.ACCOUNTS_MAX * m.MARKETS_MAX * 2**62
        per = 2 * funding_max * m.LOTS_MAX
        facts = [-most <= c, c <= most, -(2**63) <= profit, profit <= 2**63, -per <= due * PPM, due * PPM <= per]
        return facts, z3.And(fits((c + m.MARKETS_MAX * (profit + due)) * PPM), fits(per + 0 * due))

    check("equity_fits: × ppm, for an account in all markets", *equity(m.FUNDING_MAX))
    control("equity with a funding index up to 2^90", *equity(2**90))

    n, buys, ppm = ints("n buys ppm")
    facts = [0 <= n, n <= 2**62, 0 <= buys, buys <= 2**64]
    # Initial margin at most 100 %, open orders' losses in full, their fees at most 100 %.
    check("health: the initial margin of all markets fits", facts, fits(m.MARKETS_MAX * (n * PPM + buys * PPM + buys * PPM)))

    whole, held, freed, share = ints("whole held freed share")
    facts = [0 < whole, whole <= m.MARKETS_MAX * 2**62 * PPM, held * PPM <= whole + PPM, held * PPM >= -whole - PPM]
    check("ratio_ppm: fits", facts, fits(held * PPM * PPM))
    facts = [-PPM <= share, share <= 2 * PPM, 0 <= freed, freed <= 2**62 * PPM]
    check("ticks_given: fits", facts, z3.And(share * freed <= m.I128_MAX, share * freed >= -m.I128_MAX))

    # share_of: every intermediate of the code, against the one product it replaces.
    rest, whole, part, high, low, upper_rest = ints("rest whole part high low upper_rest")
    facts = [0 <= rest, rest < whole, whole < 2**72, 0 <= part, part <= whole, 0 <= low, low < 2**31, part == high * 2**31 + low]
    facts += [0 <= upper_rest, upper_rest < whole, high >= 0]
    # Bounds of each factor, then of the products.
    check("share_of: both halves are short", facts, z3.And(high < 2**41, low < 2**31))
    small = [0 <= rest, rest < 2**72, 0 <= high, high < 2**41, 0 <= low, low < 2**31, 0 <= upper_rest, upper_rest < 2**72]
    check("share_of: every product fits", small, z3.And(rest * high < 2**113, upper_rest * 2**31 + rest * low < 2**104))
    whole_margin = [0 <= rest, rest < 2**71, 0 <= part, part <= 2**62]
    control("share_of as one product", whole_margin, fits(rest * part))
    # In `rest · part / whole` in two halves, part = high · 2^31 + low: with rest · high =
    # upper · whole + left and left · 2^31 + rest · low = lower · whole + end, the code's
    # upper · 2^31 + lower is the quotient. Products are variables here: the rest is linear.
    rest_high, rest_low, upper_whole, left, lower_whole, end, whole = ints("rest_high rest_low upper_whole left lower_whole end whole")
    facts = [rest_high == upper_whole + left, left * 2**31 + rest_low == lower_whole + end, 0 <= end, end < whole]
    product, quotient = rest_high * 2**31 + rest_low, upper_whole * 2**31 + lower_whole
    check("share_of: is the exact quotient", facts, z3.And(quotient <= product, product < quotient + whole))
    control("share_of without the remainder of its upper half", facts[:1] + [rest_low == lower_whole + end] + facts[2:], product < quotient + whole)


def vectors():
    """Lines `function argument… result`, from a fixed seed and at the bounds."""
    k, draw = m.Numbers(), random.Random(6)
    lines = []

    def size(bits):
        return draw.getrandbits(draw.randint(1, bits))

    def line(name, *values):
        lines.append(" ".join([name, *(str(value) for value in values)]))

    for n in range(40):
        value, ppm = (size(62), draw.randint(0, PPM)) if n else (2**62 - 1, PPM)
        line("fee", value, ppm, m.fee(k, value, ppm))
        paid, index, lots = draw.randint(-m.FUNDING_MAX, m.FUNDING_MAX) >> draw.randint(0, 70), size(80), draw.randint(-m.LOTS_MAX, m.LOTS_MAX)
        line("unsettled", paid, index, lots, m.unsettled(k, paid, index, lots))
        mark, step = draw.randint(1, m.TICKS_MAX) >> draw.randint(0, 30) or 1, draw.randint(0, PPM // 2)
        line("step_ticks", mark, step, m.step_ticks(k, mark, step))
        # As many low marks, whose step is under a tick.
        low, small = draw.randint(1, 200), draw.randint(1, 20_000)
        line("step_ticks", low, small, m.step_ticks(k, low, small))
        line("margin_ticks", low, small, m.margin_ticks(k, low, small))
        whole = size(90) + 1
        bound = whole // PPM + 2
        equity = draw.randint(-bound, bound) if n % 4 else draw.choice([-1, 1]) * size(95)
        line("ratio_ppm", equity, whole, m.ratio_ppm(k, equity, whole))
        share, freed, lots = draw.randint(-PPM, 2 * PPM), size(82), draw.randint(1, m.LOTS_MAX) >> draw.randint(0, 29) or 1
        line("ticks_given", share, freed, lots, m.ticks_given(k, share, freed, lots))
        whole = size(71) + 1
        part, value = draw.randint(0, whole), size(99)
        line("share_of", value, part, whole, m.share_of(k, value, part, whole))
        tiers = []
        for _ in range(2):
            tiers.append(((tiers[-1][0] if tiers else 0) + 1 + size(40), draw.randint(0, 100_000)))
        value, base = size(62), draw.randint(0, 500_000)
        line("margin", value, base, *tiers[0], *tiers[1], m.margin(k, value, base, tiers))
        cost, held = draw.choice([-1, 1]) * size(62), draw.randint(1, m.LOTS_MAX)
        closing = draw.randint(1, held)
        line("trade_part", cost, closing, held, m.trade_part(k, cost, closing, held))
        before, gone, shift = size(59), draw.randint(1, m.PPB) >> draw.randint(0, 29) or 1, draw.randint(1, 12)
        line("variance", before, gone, shift, m.variance(k, before, gone * gone, shift))
        was, wanted, rise, fall = draw.randint(0, 500_000), draw.randint(0, 500_000), size(18) + 1, size(18) + 1
        initial, maintenance = m.additions(k, was, wanted, rise, fall)
        line("additions", was, wanted, rise, fall, initial * PPM + maintenance)
        step, cap, closing = draw.randint(0, 20_000), draw.randint(0, 20_000), draw.randint(0, 10_000)
        mm = m.worst(step, cap, closing) // PPM + draw.randint(-1, 1)
        line("envelope", step, cap, closing, mm, int(m.worst(step, cap, closing) <= mm * PPM))
    return "".join(f"{text}\n" for text in sorted(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", action="store_true", help="write vectors.txt anew")
    if parser.parse_args().vectors:
        VECTORS.write_text(vectors())
        return 0
    for group in (rounding, tiers, envelope, close, undercollateralised, predicted, widths):
        group()
    for name, good, what in results:
        print(f"{'ok ' if good else 'NOT'} {name}: {what}")
    current = VECTORS.read_text() == vectors()
    if not current:
        print("NOT vectors.txt is not what model.py computes; write it anew with --vectors")
    failed = sum(not good for _, good, _ in results) + (not current)
    print(f"lemmas: {len(results)} claims, {failed} failed, z3 {z3.get_version_string()}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
