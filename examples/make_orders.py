#!/usr/bin/env python3
"""Writes orders.jsonl next to this file: 400 sample orders of 8 traders in 3 markets over
about 8 seconds. The same file every time; standard library only."""

import json
import pathlib
import random

ORDERS = 400
SPAN_MS = 8_000
SEED = 20_240_917

# market -> (mid price in ticks, spread in ticks, usual size in lots)
MARKETS = {0: (643_250, 5, 40), 1: (31_480, 3, 120), 2: (1_524, 1, 600)}
MAKERS = ["alice", "bob", "carol"]
TAKERS = ["dave", "erin", "frank", "grace", "heidi"]


def main() -> None:
    rng = random.Random(SEED)
    mids = {market: mid for market, (mid, _, _) in MARKETS.items()}
    resting: dict[str, list[tuple[int, int]]] = {name: [] for name in MAKERS + TAKERS}
    next_cloid = {name: 1_000 * (i + 1) for i, name in enumerate(resting)}
    times = sorted(rng.randrange(SPAN_MS) for _ in range(ORDERS))
    lines = []
    for index, at_ms in enumerate(times):
        trader = rng.choice(MAKERS) if rng.random() < 0.6 else rng.choice(TAKERS)
        maker = trader in MAKERS
        market = rng.choice(list(MARKETS))
        _, spread, usual = MARKETS[market]
        mids[market] += rng.choice([-2, -1, -1, 0, 0, 1, 1, 2])
        order = {"at_ms": at_ms, "trader": trader}
        dice = rng.random()
        if index >= ORDERS - 3 and maker:
            order |= {"op": "cancel_all"}
            resting[trader].clear()
        elif dice < 0.22 and resting[trader]:
            market, cloid = resting[trader].pop(rng.randrange(len(resting[trader])))
            order |= {"op": "cancel", "market": market, "cloid": cloid}
        elif dice < 0.25 and maker:
            order |= {"op": "cancel_all", "market": market}
            resting[trader] = [r for r in resting[trader] if r[0] != market]
        else:
            side = rng.choice(["buy", "sell"])
            away = spread + rng.randrange(4 * spread)
            if maker:
                tif = rng.choice(["post_only", "post_only", "gtc"])
                price = mids[market] - away if side == "buy" else mids[market] + away
            else:
                tif = rng.choice(["ioc", "ioc", "ioc", "fok", "gtc"])
                price = mids[market] + away if side == "buy" else mids[market] - away
            cloid = next_cloid[trader]
            next_cloid[trader] += 1
            order |= {
                "op": "place",
                "market": market,
                "side": side,
                "price_ticks": price,
                "lots": max(1, int(rng.expovariate(1 / usual))),
                "tif": tif,
                "cloid": cloid,
            }
            if tif in ("gtc", "post_only"):
                resting[trader].append((market, cloid))
            elif rng.random() < 0.1:
                order["reduce_only"] = True
        order["fan_out"] = rng.choice([1, 2, 3, 4, 4])
        lines.append(json.dumps(order, separators=(",", ":")))
    text = "\n".join(lines) + "\n"
    pathlib.Path(__file__).with_name("orders.jsonl").write_text(text)


if __name__ == "__main__":
    main()
