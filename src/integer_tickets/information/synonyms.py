"""A fixed table of English synonyms that no task about a text should mind: words for things and for small words.

Groups of words that can stand for each other in most sentences and carry no judgement. It is short on purpose: what is
in it was chosen by hand, so that a label that changes with such a word is a fault of the network, not of the table.
"""

GROUPS = """
film movie picture | films movies pictures | actor performer | actors performers | director filmmaker
story tale | stories tales | scene sequence | scenes sequences | script screenplay | ending finale | viewers audiences
start begin | starts begins | started began | finish end | finishes ends | finished ended | buy purchase
bought purchased | speak talk | speaks talks | show display | shows displays | showed displayed | make create
makes creates | made created | seem appear | seems appears | seemed appeared | keep retain | keeps retains
choose pick | chose picked | get obtain
big large | bigger larger | biggest largest | small little | smaller littler | quick fast | quickly rapidly | wide broad
whole entire | usual customary | usually normally | often frequently | rarely seldom | almost nearly | maybe perhaps
also too | however though | while whilst | until till | among amongst | toward towards | around about | near close
child kid | children kids | man guy | men guys | woman lady | women ladies | mother mom | father dad | house home
doctor physician | lawyer attorney | car automobile | cars automobiles | city town | street road | shop store | job work
company firm | companies firms | answer reply | answers replies | question query | questions queries | error mistake
part portion | parts portions | place spot | places spots | kind type | kinds types | couple pair | reason cause
photo photograph | phone telephone | tv television | plane aircraft | bike bicycle | exam examination
"""


def synonyms_of_english() -> dict[str, list[str]]:
    """Of each word the others of its group."""
    groups = [group.split() for line in GROUPS.strip().splitlines() for group in line.split("|")]
    return {word: [other for other in group if other != word] for group in groups for word in group}
