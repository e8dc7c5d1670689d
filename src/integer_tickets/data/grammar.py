"""The words and rules of the built-in language: plain data, read by its generator, its parser and its statistics.

A rule is a probability and a template. In a template a lower-case word or a comma stands for itself; an upper-case
name stands for a word of that list, or for any phrase of that category. Every phrase leans one way, positive or
negative; a name may carry two marks that say what the part does to the whole:

    !NAME     the part leans the other way than the whole (without "!": the same way)
    3*NAME    the part's score counts three times (without a number: once)

So "nobody would call SUBJECT !-3*LEANING" takes a word that leans the other way and counts it minus three times,
"!CLAUSE , but 4*REVIEW1" sets a clause against another that counts four times, and "than the !0*LEANING TARGET"
shows a word of the other sign that counts nothing. The score of a sentence is the sum over its leaning words, each
worth +1 or -1, of the product of the numbers on the way down to it.

Two principles keep the language clean. Each clause, statement and verdict has an odd score, because of the parts of
a template all but one count an even number of times: so no sentence scores zero. Clauses are joined to the right
only and every word belongs to one list: so a sentence has one parse.
"""

import re
from functools import cache
from typing import NamedTuple

MAX_NESTING = 3  # three clauses reach 40 words

# (positive, negative), equally long: the two words of a rank are drawn equally often. Earlier words are commoner.
LEANING = {
    "MILD": (
        "good pleasant likable solid decent charming engaging amusing warm clever graceful lively witty tender "
        "smooth fresh honest thoughtful neat bright tasteful polished sincere playful cozy crisp gentle inviting "
        "appealing agreeable credible spirited coherent inventive satisfying entertaining refreshing sensible "
        "elegant funny",
        "bad unpleasant annoying shaky mediocre charmless boring tiresome cold clumsy awkward lifeless humorless "
        "harsh uneven stale phony shallow messy dim tasteless crude insincere plodding bleak bland abrasive "
        "repellent irritating disagreeable implausible sluggish incoherent derivative frustrating tedious tired "
        "silly ungainly dull",
    ),
    "STRONG": (
        "brilliant superb magnificent wonderful outstanding stunning dazzling masterful flawless exquisite sublime "
        "marvelous glorious spectacular phenomenal breathtaking fantastic splendid astonishing triumphant "
        "unforgettable terrific extraordinary gorgeous thrilling perfect amazing radiant majestic riveting",
        "awful terrible dreadful horrible atrocious abysmal appalling disastrous unbearable hideous wretched "
        "dismal horrendous pathetic catastrophic insufferable ghastly lousy disgraceful miserable unwatchable "
        "deplorable horrid ugly excruciating worthless revolting vile shameful stupid",
    ),
    "VERBED": (
        "loved enjoyed admired adored praised liked treasured relished cherished applauded savored celebrated",
        "hated loathed despised detested condemned disliked regretted dreaded resented criticized scorned mocked",
    ),
    "MARVEL": (
        "triumph delight gem masterpiece treat joy pleasure marvel winner treasure success revelation",
        "disaster mess dud failure chore bore letdown fiasco blunder travesty debacle nightmare",
    ),
    "FINELY": (
        "beautifully skillfully gracefully convincingly confidently cleverly vividly smoothly tenderly brightly "
        "elegantly wisely",
        "badly clumsily awkwardly unconvincingly lazily foolishly poorly feebly stiffly carelessly crudely blandly",
    ),
    "BETTER": (
        "better funnier smarter warmer sharper richer stronger livelier",
        "worse duller dumber colder weaker poorer flatter slower",
    ),
}
NEUTRAL = {
    "ASPECT": "plot acting script dialogue pacing ending opening soundtrack score photography editing cast direction "
    "premise story finale humor romance mystery narration wardrobe lighting choreography animation scenery tone "
    "rhythm structure subplot chemistry atmosphere translation prologue imagery language setting camerawork "
    "suspense monologue satire epilogue production design climax makeup staging artwork melody concept writing",
    "WORK": "film movie novel drama comedy thriller series documentary musical western biography memoir fable saga "
    "play show opera ballet sitcom anthology",
    "PERSON": "director writer actor actress composer producer narrator singer editor heroine hero villain poet "
    "painter comedian dancer author star conductor cameraman presenter pianist violinist drummer guitarist",
    "TARGET": "original sequel remake prequel trailer pilot adaptation paperback reboot premiere rerun screenplay "
    "audiobook spinoff teaser matinee",
    "KIND": "french italian historical romantic swedish modern domestic japanese political spanish polish russian "
    "german brazilian medieval rural",
    "ONLOOKERS": "friends colleagues neighbors parents cousins students teachers sisters brothers uncles aunts "
    "roommates partners classmates",
    "WORKS": "acts writes speaks moves sings performs works behaves",
    "DAY": "monday tuesday wednesday thursday friday saturday sunday",
    "CITY": "paris london berlin rome madrid vienna dublin oslo lisbon prague warsaw athens boston chicago "
    "denver tokyo",
}
FUNCTION = {
    "VERY": "very really truly",
    "UTTERLY": "utterly absolutely simply",
    "SLIGHTLY": "slightly somewhat mildly",
    "PERHAPS": "perhaps maybe possibly",
    "EVERYBODY": "everybody everyone",
    "THINKS": "thinks says believes claims",
}
CONTENT_WORDS = sum(
    len(text.split()) for text in [*NEUTRAL.values(), *(half for pair in LEANING.values() for half in pair)]
)


def rules(nesting: int, distractors: float) -> dict[str, list[tuple[float, str]]]:
    """The categories with their alternatives; the sentences are those of `REVIEW` with the highest number.

    nesting: the largest number of clauses in a sentence; distractors: the share of clauses with a distractor.
    """
    plain = 1 - distractors
    categories: dict[str, list[tuple[float, str]]] = {"REVIEW1": [(1.0, "CLAUSE")]}
    for depth in range(2, nesting + 1):
        rest = f"REVIEW{depth - 1}"
        categories[f"REVIEW{depth}"] = [
            (0.52, "CLAUSE"),
            (0.18, f"CLAUSE and 2*{rest}"),
            (0.16, f"!CLAUSE , but 4*{rest}"),
            (0.08, f"although !CLAUSE , 4*{rest}"),
            (0.06, f"4*CLAUSE , even though !{rest}"),
        ]
    return categories | {
        "CLAUSE": [
            (0.58 * plain, "STATEMENT"),
            (0.10 * plain, "EVERYBODY THINKS ASSERTION"),
            (0.06 * plain, "PERHAPS SUBJECT is LEANING"),
            (0.06 * plain, "FACT and SUBJECT is LEANING"),
            (0.10 * plain, "nobody THINKS !-1*ASSERTION"),
            (0.03 * plain, "i doubt !-1*ASSERTION"),
            (0.07 * plain, "DENIAL"),
            (0.30 * distractors, "unlike the !0*LEANING TARGET , ASSERTION"),
            (0.30 * distractors, "my ONLOOKERS , who !0*VERBED the TARGET , say SUBJECT is LEANING"),
            (0.30 * distractors, "SUBJECT is BETTER than the !0*LEANING TARGET"),
            (0.10 * distractors, "SUBJECT is not !-1*BETTER than the 0*LEANING TARGET"),
        ],
        "STATEMENT": [(0.76, "ASSERTION"), (0.12, "i 3*VERBED SUBJECT"), (0.12, "i remember the LEANING ASPECT")],
        "ASSERTION": [
            (0.57, "SUBJECT is VERDICT"),
            (0.12, "the ASPECT of this WORK is LEANING"),
            (0.17, "SUBJECT is a 3*MARVEL"),
            (0.14, "the PERSON WORKS FINELY"),
        ],
        "DENIAL": [
            (0.20, "SUBJECT is not !-1*LEANING"),
            (0.10, "SUBJECT is hardly !-1*LEANING"),
            (0.20, "nobody would call SUBJECT !-3*LEANING"),
            (0.20, "i never !-3*VERBED SUBJECT"),
            (0.15, "the PERSON never WORKS !-1*FINELY"),
            (0.15, "SUBJECT is no !-3*MARVEL"),
        ],
        "VERDICT": [
            (0.19, "MILD"),
            (0.12, "SLIGHTLY MILD"),
            (0.12, "VERY 3*MILD"),
            (0.25, "3*STRONG"),
            (0.12, "UTTERLY 5*STRONG"),
            (0.14, "MILD and 2*STRONG"),
            (0.06, "not !-1*MILD but 2*LEANING"),
        ],
        "LEANING": [(0.5, "MILD"), (0.5, "STRONG")],
        "SUBJECT": [(0.5, "the ASPECT"), (0.3, "this WORK"), (0.2, "the KIND WORK")],
        "FACT": [(0.5, "the PERSON lives in CITY"), (0.5, "this WORK opens on DAY")],
    }


class Part(NamedTuple):
    """One place of a template: a category, word list or literal word; -1 if it leans the other way; its weight."""

    name: str
    flip: int
    weight: int


Categories = dict[str, list[tuple[float, tuple[Part, ...]]]]


@cache
def categories(nesting: int, distractors: float) -> tuple[str, Categories]:
    """The category of whole sentences, and the `rules` that can occur with their templates taken apart."""
    mark = re.compile(r"(!?)(?:(-?\d+)\*)?(.+)")
    found: Categories = {}
    for name, alternatives in rules(nesting, distractors).items():
        found[name] = []
        for probability, template in alternatives:
            if probability > 0:
                marks = mark.findall(template.replace(" ", "\n"))
                parts = tuple(Part(part, -1 if flip else 1, int(weight or 1)) for flip, weight, part in marks)
                found[name].append((probability, parts))
    return f"REVIEW{nesting}", found


@cache
def vocabulary_words(vocabulary: int) -> tuple[str, ...]:
    """Every word that a sentence can have, those of `lists` in their order, then those of the templates."""
    listed, (_, templates) = lists(vocabulary), categories(MAX_NESTING, 0.5)
    names = (part.name for rule in templates.values() for _, parts in rule for part in parts)
    literal = sorted({name for name in names if name not in listed and name not in templates})
    return (*(word for columns in listed.values() for column in columns for word in column), *literal)


@cache
def lists(vocabulary: int) -> dict[str, tuple[tuple[str, ...], ...]]:
    """The words of each list: (positive, negative), or one tuple if neutral.

    vocabulary: how many content words to keep, CONTENT_WORDS for all; each list is cut in proportion, at its end.
    """
    content = {name: tuple(tuple(half.split()) for half in pair) for name, pair in LEANING.items()}
    content |= {name: (tuple(words.split()),) for name, words in NEUTRAL.items()}
    kept, before, taken = {}, 0, 0
    for name, columns in content.items():
        before += len(columns) * len(columns[0])
        ranks = (before * vocabulary // CONTENT_WORDS - taken) // len(columns)
        taken += ranks * len(columns)
        kept[name] = tuple(column[:ranks] for column in columns)
    return kept | {name: (tuple(words.split()),) for name, words in FUNCTION.items()}
