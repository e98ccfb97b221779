"""The words by which the sentences of a free-form text are sorted into the sections of a narrative.

Kept apart from the sorting because they are what a reader of many texts would correct first. Patterns are in verbose
form: white space is none of theirs.
"""

from __future__ import annotations

import re


def _words(pattern: str, end: str = "") -> re.Pattern[str]:
    """Alternatives that begin a word; ``end`` is what has to follow them."""
    return re.compile(rf"\b(?:{pattern}){end}", re.IGNORECASE | re.VERBOSE)


#: Words that say how or where skin is changed, or what was done: no sentence that holds one is mere form.
SPECIFIC = _words(
    r"""
    macul | papul | plaque | patch(?!\s+test) | nodul | pustul | vesic | bulla | blister | ulcer | ero[ds] |
    weal | wheal | swell | swollen | lump | comedo | cyst | scar | burrow | bruis | eruption | rash | crust |
    scal[ey] | scaling | excoriat | fissur | crack | lichenif | atroph | scler | thicken | thinn | kerato |
    verruc | wart | horn | smooth | rough | greasy | flak | peel | weep | ooz | exudat | pus\b | demarcat |
    erythem | redness | red\b | reddish | pink | brown | black | blue | bluish | purpl | violaceous | gr[ae]y |
    orange | yellow | white | whitish | silver | pale | pearly | necro | dome | annular | umbilicat | reticul |
    symmetr | asymmetr | follic | flexur | extensor | vessel | telangiect | pigment | hair | nail | scalp |
    facial | cheek | nose | lip | mouth | oral | ears?\b | eyes?\b | eyelid | neck | chest | trunk | abdom |
    arms?\b | forearm | elbow | wrist | palm | finger | digit | legs?\b | thigh | knee | shin | ankle | foot |
    feet | soles?\b | toe | groin | genital | buttock | axilla | inflam | infect | benign | malignan | cancer |
    tumou?r | neoplas | itch | prurit | pain | tender | bleed | biops | histolog | cream | steroid |
    antibiotic | antifung | child | elder | intertrigin | folds?\b | torso | arthropod | insect | microb |
    occlu | limbs?\b | sweat | friction | allerg | irritat | irritant | trauma | edema | oedema | hyper | hypo |
    dermal | epiderm
    """,
)
#: Words that make a sentence one about skin, disease or care at all.
CLINICAL = _words(
    r"""
    skin | lesion | face | hand | back\b | diseas | disorder | condition | diagnos | symptom | treat | therap |
    dermatolog | doctor | physician | clinic | specialist | patient | aged?\b | sun | chronic | acute | immun |
    vascul | drug | medicat | texture | surface | moist | dry | cell | tissue | image | photo | defined |
    border | edge | margin | ring | round | oval | linear | cluster | group | discrete | colou?r
    """,
)
#: Words that speak of the text itself.
META = _words(
    r"""
    approach | steps? | reasoning | analy[sz]\w+ | process | structured | systematic | narrow\w* | categor\w+ |
    think\w* | let | information | details? | description | following | above | consider\w* | observ\w+ |
    summar\w+ | conclu\w+ | evaluat\w+ | assess\w* | chain | logical\w* | framework | order | here | below |
    task | question | query
    """,
    r"\b",
)
#: Words of a look or a place: a phrase that holds one says something, however it begins.
SEEN = _words(
    r"""
    raised | structures? | areas?(?!\s+of\s+(?:concern|interest)) | regions? | back | flanks? | glut\w* | small |
    large | numerous | multiple | several | scattered | cluster\w* | thick\w* | thin | dark | light | round |
    linear | lines? | shapes? | sizes? | joints? | knuckles? | thumbs? | limbs? | sides? | upper | lower |
    central | surround\w* | deep | superficial | grouped | single | solitary | widespread | locali[sz]ed |
    presents | visible | shows? | appears? | infants? | neonates? | newborn | adults? | wom[ae]n | m[ae]n |
    males? | females? | creases? | tongue | gums? | glans | penis | normal | pedunculated | sessile | urgen\w+
    """,
    r"\b",
)
#: What a reader is to do.
ADVICE = _words(
    r"""
    recommend\w* | advis\w+ | consult\w* |
    see(?:ing|k|ks|king)?\s+(?:\w+\s+){0,3}?(?:dermatolog|doctor|physician|medical|healthcare|professional|
      specialist|provider)\w* |
    refer(?:ral|red)?\b |
    (?:should|must|needs?\s+to|warrants?|requires?|necessitat\w+)\s+(?:\w+\s+){0,4}?(?:evaluat|biops|treat|
      monitor|assess|examin|consult|confirm|follow|review|attention|intervention|investigat|manag)\w* |
    treatments?\s+(?:options?|typically|usually|may|can|should|includes?|involves?|is|are) | treated\s+with |
    managed\s+with | management\s+(?:may|can|should|includes?|involves?|typically|of|options?) | follow-?up |
    avoid(?:ing)?\s | monitor(?:ed|ing)?\b | biopsy\s+(?:is|would|may|should|to|for) | patch\s+test\w* | koh\b |
    moisturi[sz]\w+ | sunscreen | prescri\w+ | apply\w* | use\s+of\s+(?:topical|sun)
    """,
)
#: What cannot be known.
LIMITS = _words(
    r"""
    cannot\s+(?:be\s+)?(?:\w+\s+)?(?:confirm|determin|exclud|rul|see|assess|diagnos|tell|told|know|judg|say|
      said|evaluat|conclu|provid)\w* |
    (?:not|isn't|wasn't|never)\s+(?:\w+\s+)?(?:mention|describ|provid|specif|stat|visible|given|report|
      available|possible|definitive)\w* |
    unclear | uncertain\w* | limited\s+(?:by|information) | limitation |
    without\s+(?:\w+\s+){0,3}?(?:history|biopsy|test|information|examination|evaluation|confirmation|image|
      photograph)\w* |
    difficult\s+to | hard\s+to | impossible | no\s+(?:information|history|details?|image|visual) |
    lack\s+of\s+(?:\w+\s+)?(?:information|history|detail|visual|image) |
    definitive\s+diagnosis\s+(?:requires|would|may|needs|can)
    """,
)
#: In a list of look-alikes: what speaks against one, and what for it.
AGAINST = _words(
    r"""
    but | however | less | unlikely | not | n't | no | lacks? | lacking | absen\w+ | without | uncommon |
    rare(?:ly)? | atypical | usually | typically | ruled?\s+out | exclud\w+ | although | though | whereas |
    would
    """,
    r"\b",
)
DENIAL = re.compile(
    r"""
    unlikely | less | not\b | n't | rul\w+\sout | exclud | rather | against | unlike | lack
    """,
    re.IGNORECASE | re.VERBOSE,
)
FITS = _words(
    r"""
    fits?\b(?!\s+poorly) | consistent | match\w* | support\w* | explain\w* | align\w* | suggest\w* | classic |
    characteristic | favou?r\w* | strong\w* | likely
    """,
)
WEIGHING = re.compile(
    r"""
    consider | categor | narrow | differential | possib | weigh | compare
    """,
    re.IGNORECASE | re.VERBOSE,
)
#: Sentences that only lead on to the next, whatever clinical noun they hold.
SCAFFOLD = re.compile(
    r"""
    ^(?:\W*\d+[.)]\s*)?(?:first | next | then | now | finally | second | third | lastly | after\sthat |
      to\s(?:begin|start|analy[sz]e|arrive|reach|determine|diagnose) | let(?:'s|\sme|\sus) |
      in\s(?:analy[sz]ing|reviewing|narrowing|considering|this\sanalysis) |
      i\s(?:will|would|shall|need|begin|start|must) | we\s(?:will|can|must|begin|start|need) |
      step\s\d | upon | okay | alright | moving\son)\b[^!?]{0,300}$
    """,
    re.IGNORECASE | re.VERBOSE,
)
#: Sentences that draw on what was seen, rather than say it.
INFERENCE = re.compile(
    r"""
    ^(?:based\son | given | considering | taken\stogether | these | those |
      this\s(?:\w+\s)?(?:combination|condition|diagnosis|disease|tumou?r|malignan\w*|suggests?|supports?|indicates?|
        points?|strongly|makes?|is|aligns?|pattern|presentation|finding|case) |
      therefore | thus | hence | overall | in\s(?:conclusion|summary) | finally | ultimately | i\b | we\b | my\b |
      if\b | when\b | while\b | although\b | since\b | because\b | however\b | such\b | it\b | they\b)
    """,
    re.IGNORECASE | re.VERBOSE,
)
