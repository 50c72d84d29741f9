"""Builds the tiny preset's tokenizer: a vocabulary of 1024 in CLIP's byte-pair format, learned from made-up captions.

Run ``PYTHONPATH=core:plugins/sdxl python tools/make_tokenizer.py``; it rewrites the plugin's ``assets/tokenizer/`` and
always writes the same bytes (the trainer of the ``tokenizers`` library breaks ties by hash order, hence the loop here).
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

from mindloom_sdxl.vocabulary import TINY_ASSETS, clip_vocabulary

SIZE = 1024

# Words that a caption about coloured shapes is made of: each must become a single token.
COMMON_TEXT = """
    a an the on of in at with and to by is two three one no left right top bottom above below next center
    red orange yellow green teal cyan blue navy purple violet magenta pink brown black white gray grey gold silver
    olive maroon beige circle square triangle star heart hexagon diamond ring cross moon ellipse rectangle pentagon
    arrow line dot disc crescent oval octagon plus spiral small large big tiny medium light dark bright pale striped
    dotted solid plain outlined outline filled checkered tilted background picture photo drawing
"""
# Ordinary words that use up what is left of the vocabulary, so that other captions stay short as well.
OTHER_TEXT = """
    painting image cat dog house tree flower car sky sun water man woman girl boy sea mountain forest city street
    portrait style color shape soft old new little happy wooden standing sitting over under near day night grass road
    bird fish horse hand face eye hair snow sand stone paper glass metal wood fire cloud rain river lake beautiful
    shirt dress window door table chair room kitchen field garden beach bridge boat train airplane bicycle building
    people person child smiling walking running holding wearing looking close up view front behind inside outside
    digital cartoon abstract detailed realistic sketch watercolor oil vintage modern texture pattern shadow reflection
    shiny rough smooth round sharp soft warm cold wet dry long short tall wide thin thick empty full open closed
    morning evening sunset winter summer spring autumn leaf leaves apple fruit bread cake coffee cup plate bottle
    book clock lamp phone computer camera guitar ball hat shoe bag umbrella mirror curtain pillow blanket
"""
COMMON, OTHERS = COMMON_TEXT.split(), OTHER_TEXT.split()
WEIGHTED = {**dict.fromkeys(OTHERS, 1), **dict.fromkeys(COMMON, 20)}


def learn_merges(count: int) -> list[tuple[str, str]]:
    """Byte-pair encoding (Sennrich et al. 2016, algorithm 1); equal counts are settled by spelling."""
    words = {(*word[:-1], word[-1] + "</w>"): times for word, times in WEIGHTED.items()}
    merges: list[tuple[str, str]] = []
    while len(merges) < count:
        pairs: Counter[tuple[str, str]] = Counter()
        for symbols, times in words.items():
            for pair in pairwise(symbols):
                pairs[pair] += times
        if not pairs:
            raise SystemExit(f"the captions give {len(merges)} merges, {count} are needed: add words")
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = {join(symbols, best): times for symbols, times in words.items()}
    return merges


def join(symbols: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    joined: list[str] = []
    for symbol in symbols:
        if joined and (joined[-1], symbol) == pair:
            joined[-1] += symbol
        else:
            joined.append(symbol)
    return tuple(joined)


def main() -> None:
    merges = learn_merges(SIZE - 2 * 256 - 2)
    vocabulary = clip_vocabulary(merges)
    if len(vocabulary) != SIZE:
        raise SystemExit(f"{SIZE - len(vocabulary)} tokens are spelled twice")
    split = [word for word in COMMON if word + "</w>" not in vocabulary]
    if split:
        raise SystemExit(f"not single tokens: {' '.join(split)}")
    TINY_ASSETS.mkdir(parents=True, exist_ok=True)
    (TINY_ASSETS / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (TINY_ASSETS / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{TINY_ASSETS}: {len(vocabulary)} tokens, {len(merges)} merges")


if __name__ == "__main__":
    main()
