"""The words and rules of the built-in language: plain data that generator, parser and exact statistics all read.

A rule is a weight and a template. In a template a lower-case word or a comma stands for itself, and an upper-case
name for a category of `rules` or a word list of `WORDS`. A name may carry two marks:

    !NAME    the part leans the other way than the whole (without "!": the same way)
    3*NAME   the part's score counts three times in the whole (without a number: once)

so "nobody would call SUBJECT !-3*STRONG" takes a strong word of the opposite leaning and counts it minus three
times, "!CLAUSE , but 2*REVIEW1" lets the second half count double, and "than the !0*STRONG TARGET" shows a word
of the other sign that counts nothing. The score of a sentence is thereby a sum over its leaning words, each worth
+1 or -1, of the product of the numbers on the way to it. Every rule keeps the score of a clause odd, so no
sentence scores zero.
"""

# A leaning list is a pair of equally long texts (positive, negative); rank by rank they are drawn equally often.
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
        "beautifully skillfully gracefully convincingly confidently cleverly vividly smoothly tenderly "
        "brightly elegantly wisely",
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
    "suspense monologue satire",
    "WORK": "film movie novel drama comedy thriller series documentary musical western biography memoir fable saga "
    "play show",
    "PERSON": "director writer actor actress composer producer narrator singer editor heroine hero villain poet "
    "painter comedian dancer",
    "TARGET": "original sequel remake prequel trailer pilot adaptation paperback reboot premiere rerun screenplay",
    "KIND": "french italian historical romantic swedish modern domestic japanese political",
    "ONLOOKERS": "friends critics colleagues neighbors parents cousins students teachers sisters brothers",
    "WORKS": "acts writes speaks moves sings performs",
    "DAY": "monday tuesday wednesday thursday friday saturday sunday",
    "CITY": "paris london berlin rome madrid vienna dublin oslo lisbon prague",
}
FUNCTION = {
    "VERY": "very really truly",
    "UTTERLY": "utterly absolutely simply",
    "SLIGHTLY": "slightly somewhat mildly",
    "BELIEVERS": "everybody everyone",
    "DENIERS": "nobody",
    "BELIEVE": "thinks says believes claims",
    "PERHAPS": "perhaps maybe possibly",
}


def rules(nesting: int, distractors: float) -> dict[str, list[tuple[float, str]]]:
    """The categories: each a list of (probability, template); a sentence is a `REVIEW` of the highest number.

    nesting: the largest number of clauses in a sentence; distractors: the share of clauses with a distractor.
    """
    reviews = {"REVIEW1": [(1.0, "CLAUSE")]}
    for depth in range(2, nesting + 1):
        rest = f"REVIEW{depth - 1}"
        reviews[f"REVIEW{depth}"] = [
            (0.60, "CLAUSE"),
            (0.16, f"CLAUSE and 2*{rest}"),
            (0.12, f"!CLAUSE , but 2*{rest}"),
            (0.06, f"although !CLAUSE , 2*{rest}"),
            (0.06, f"2*CLAUSE , even though !{rest}"),
        ]
    return reviews | {
        "CLAUSE": [(1 - distractors, "PLAIN"), (distractors, "DISTRACTED")],
        "PLAIN": [
            (0.50, "STATEMENT"),
            (0.12, "BELIEVERS BELIEVE STATEMENT"),
            (0.06, "PERHAPS SUBJECT is LEANING"),
            (0.20, "DENIERS BELIEVE !-1*STATEMENT"),
            (0.12, "DENIAL"),
        ],
        "STATEMENT": [
            (0.50, "SUBJECT is VERDICT"),
            (0.15, "i 3*VERBED SUBJECT"),
            (0.15, "the PERSON WORKS FINELY"),
            (0.20, "SUBJECT is a 3*MARVEL"),
        ],
        "DENIAL": [
            (0.4, "SUBJECT is not !-1*LEANING"),
            (0.2, "i never !-3*VERBED SUBJECT"),
            (0.2, "the PERSON never WORKS !-1*FINELY"),
            (0.2, "SUBJECT is no !-3*MARVEL"),
        ],
        "DISTRACTED": [
            (0.30, "unlike the SOME-LEANING TARGET , PLAIN".replace("SOME-", "!0*")),
            (0.30, "my ONLOOKERS , who !0*VERBED the TARGET , say STATEMENT"),
            (0.30, "SUBJECT is BETTER than the !0*LEANING TARGET"),
            (0.10, "SUBJECT is not !-1*BETTER than the 0*LEANING TARGET"),
        ],
        "SUBJECT": [(0.5, "the ASPECT"), (0.2, "this WORK"), (0.15, "the KIND WORK"), (0.15, "the ASPECT of this WORK")],
        "LEANING": [(0.5, "MILD"), (0.5, "STRONG")],
        "VERDICT": [
            (0.25, "MILD"),
            (0.12, "VERY 3*MILD"),
            (0.12, "SLIGHTLY MILD"),
            (0.25, "3*STRONG"),
            (0.12, "UTTERLY 5*STRONG"),
            (0.14, "MILD and 2*LEANING"),
        ],
    }
