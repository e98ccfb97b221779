"""The words by which a sentence asserts a disease, denies it, weighs it, or only sets its scene.

Kept apart from the rules that use them because they are what a reader of many texts would correct first. Patterns are
in verbose form: white space is none of theirs, and alternatives stand one after the other.
"""

from __future__ import annotations

import re
from typing import Literal

Status = Literal["asserted", "denied", "weighed", "scene", "none"]


def _before(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{pattern})(?!\w)", re.IGNORECASE | re.VERBOSE)


def _after(pattern: str) -> re.Pattern[str]:
    """A cue that follows a name within a few words of its clause."""
    return re.compile(rf"^[^,;.]{{0,65}}?\b(?:{pattern})", re.IGNORECASE | re.VERBOSE)


#: Cues before the name, in the order in which one wins over another that it contains.
BEFORE: tuple[tuple[Status, re.Pattern[str]], ...] = (
    (
        "denied",
        _before(
            r"""
            (?:not|never|n't|cannot\s+be|hardly|scarcely)\s+(?!only\b)(?:[\w'\u2019\-]+\s+){0,4}?(?:consistent|
              compatible|typical|suggest\w*|indicat\w*|support\w*|characteristic|fit\w*|represent\w*|due\s+to|
              diagnos\w*|in\s+keeping|align\w*|point\w*|match\w*|classic\w*)(?:\s+\w+){0,2}?(?:\s+(?:with|of|to|
              towards?|for))? |
            rul(?:e|es|ed|ing)\s+out | exclud\w+ | exclusion\s+of | unlike |
            no\s+(?:clear\s+)?(?:signs?|evidence|features?|indication)\s+(?:of|for|to\s+suggest) | without |
            rather\s+than | instead\s+of | as\s+opposed\s+to | (?:argues?|speaks?)\s+against | against |
            less\s+(?:likely|consistent|typical|suggestive|indicative|characteristic)(?:\s+to\s+be)?(?:\s+(?:with|
              of))? |
            (?:un|im)likely(?:\s+to\s+be)? | differentiat\w+\s+(?:\w+\s+){0,3}?from |
            distinguish\w*\s+(?:\w+\s+){0,4}?from | distinct\s+from | lacks? | lacking | absence\s+of | versus | vs\.? |
            other\s+than | mistaken\s+for | not\s+(?:a|an|just|simply)? | isn't | more\s+(?:\w+\s+){0,2}?than | than |
            differs?\s+from | contrasts?\s+with | deviat\w+\s+from | inconsistent\s+with | atypical\s+(?:for|of) |
            over(?!\s+(?:time|the|a|an|months|weeks|years|days|joints|bony|sun|pressure|\d)\b) | uncommon\s+in |
            rare\s+in | eliminat\w+ | dismiss\w* | mimic\w* | resembl\w+ | negative\s+for | discount\w*
            """
        ),
    ),
    (
        "weighed",
        _before(
            r"""
            consider(?:ed|ing|ation\s+of|s)? |
            (?:likely|main|top|possible|key)\s+(?:candidates|differentials|suspects|possibilities|contenders) |
            could\s+(?:also\s+)?(?:\w+\s+)?(?:be|suggest|indicate|represent) |
            might\s+(?:also\s+)?(?:\w+\s+)?(?:be|suggest|indicate|represent) |
            may\s+(?:also\s+)?(?:be|suggest|indicate|represent) | possib(?:le|ly|ility)(?:\s+of)? | potential(?:ly)? |
            differentials?(?:\s+diagnos[ie]s)? | alternativ\w* | includ(?:e|es|ed|ing) | such\s+as | e\.g\.,? |
            for\s+example |
            other\s+(?:\w+\s+){0,3}?(?:conditions?|diagnos[ie]s|possibilities|disorders?|causes|diseases|
              entities)(?:\s+like)? |
            while | whereas | although | though | despite | conditions?\s+like | overlap\s+with | features\s+of\s+both |
            if | whether | (?<!high\s)(?<!strong\s)suspicion\s+(?:of|for) | concern(?:s|ed|ing)?(?:\s+for|\s+about)? |
            evaluate\s+for | test(?:ing|ed|s)?\s+for | check(?:ing)?\s+for | screen(?:ing)?\s+for | monitor\w*\s+for |
            to\s+(?:confirm|assess|exclude) | confirm(?:ation)?\s+(?:whether|of) | question\s+of
            """
        ),
    ),
    (
        "scene",
        _before(
            r"""
            reactivation\s+of | (?:indicated|suggested|supported|confirmed|evidenced|favou?red|demonstrated)\s+by |
            associated | risk\s+(?:of|for) | history\s+of | associated\s+with | secondary\s+to |
            secondary(?=\s+(?:\w+\s+){0,2}infect) | due\s+to | caused\s+by | cause\s+of |
            complicat\w+(?:\s+(?:by|of))? | superimposed | exacerbated\s+by | triggered\s+by | related\s+to |
            progress(?:ion|es|ing)?\s+(?:in)?to | evolv\w+\s+into | develop(?:ing|ment|s)?\s+(?:of|into) |
            (?:type|form|variant|subtype|subset|stage|part|kind|marker|precursor|complication|symptom|
              presence)s?\s+of |
            characteri[sz]ed\s+by | marked\s+by | revealing |
            (?:common|seen|found|occurs?|present|typical|classic|observed|commonly\s+seen|characteristic)\s+in |
            known\s+as | treat(?:ment|ments|ed|ing)?\s+(?:for|of) | predispos\w+\s+to | lead(?:s|ing)?\s+to |
            result(?:s|ing)?\s+(?:in|from) | accompan\w+ | concomitant | coexist\w+ | co-existing | concurrent |
            underlying | background | prevent\w* | patients\s+with | people\s+with | individuals\s+with |
            under(?:\s+the)?\s+(?:umbrella|category|spectrum)\s+of | belongs?\s+to | category\s+of
            """
        ),
    ),
    (
        "asserted",
        _before(
            r"""
            diagnos(?:is|ed|tic\s+conclusion|tic\s+impression|tic\s+consideration|e|able)(?:\s+(?:this|
              the)\s+(?:\w+\s+){0,3}?)?(?:\s+[\w'\u2019\-]+){0,9}?\s*(?:is|was|of|as|:|to\s+be|would\s+be|remains|
              leans\s+towards?|=|\u2013|-) |
            (?:conclusion|answer|impression|verdict|assessment|culprit)(?:\s+[\w'\u2019\-]+){0,8}?\s*(?:is|was|of|
              as|:|to\s+be|remains) |
            (?:consistent|compatible|in\s+(?:keeping|line)|in\s+accordance|concordant)\s+with |
            align(?:s|ed|ing)?\s+(?:[\w\-]+\s+){0,5}?with |
            fit(?:s|ting)?(?:\s+(?!with\b)[\w\-]+){0,5}?\s+(?:with|of|for) | fits? |
            match(?:es|ing)?(?:\s+(?:that|those|the\s+\w+|a\s+\w+)\s+of)? |
            suggest(?:s|ed|ing|ive)?(?:\s+(?:of|that|a\s+diagnosis\s+of))? | indicat(?:es?|ed|ing|ive)(?:\s+of)? |
            point(?:s|ed|ing)?\s+(?:[\w\-]+\s+){0,4}?(?:to|towards?|at) | represent(?:s|ing)? |
            appear(?:s|ed)?\s+to\s+(?:be|have|show|represent|indicate|involve|suggest) | looks?\s+(?:\w+\s+)?like |
            seems?\s+to\s+(?:be|have|represent|indicate|suggest) |
            (?:signs|features|characteristics|presentation|case|picture|diagnosis|evidence|example|hallmarks?)\s+of |
            (?:you|your\s+\w+|the\s+patient|patient|individual|person|he|she|they|who|skin|area|lesions?|rash|case|
              this|it)\s+(?:\w+\s+){0,2}?(?:ha(?:s|ve)|shows?|display\w*|exhibit\w*|involves?|suffers?\s+from) |
            suffering\s+from | characteristic\s+(?:of|for) | typical\s+(?:of|for) | diagnostic\s+(?:of|for) |
            pathognomonic\s+(?:of|for) | classic(?:al)?\s+(?:\w+\s+)?(?:of|for) | classic | confirm(?:s|ed|ing)? |
            lean(?:s|ed|ing)?\s+(?:[\w\-]+\s+){0,4}?(?:to|towards?) | favou?r(?:s|ed|ing)? |
            support(?:s|ed|ing|ive)?(?:\s+of)? | conclud(?:e|es|ed|ing)(?:\s+that)? |
            identif(?:y|ied|ies)\s+(?:\w+\s+){0,3}?as | classif(?:y|ied|ies)\s+(?:\w+\s+){0,3}?as | label\w*\s+as |
            recogni[sz]ed?\s+as | described\s+as | explained\s+by | attribut\w+\s+to | called | termed | namely |
            specifically | most\s+likely | highly\s+likely | very\s+likely | likely | probabl[ey] | presum\w+ |
            this\s+is(?:\s+an?)? | it\s+is(?:\s+an?)? | these\s+are | that\s+is |
            (?:lesions?|conditions?|rash|problem|issue|disease|growths?|bumps?|spots?|patch(?:es)?|plaques?|
              nodules?|papules?|eruption|findings?|changes)(?:\s+(?!be\b|is\b|are\b)[\w\-]+){0,5}?\s+(?:is|
              are)(?:\s+an?)? |
            is\s+(?:indeed|clearly|likely|probably|in\s+fact) | best\s+fit\s+is | narrow\w*\s+(?:\w+\s+){0,4}?to |
            secures? | cements? | makes? | making | reveal\w* | demonstrat\w+ | in\s+favou?r\s+of | evidence\s+for |
            pictures?\s+of | reflect\w* | imply | implies | implying | work(?:ing)?\s+diagnosis | result(?:s)?\s+is |
            (?:highly|very|most|strongly|especially)\s+concerning\s+for |
            (?:high(?:ly)?|strong(?:ly)?)\s+(?:index\s+of\s+)?suspici\w+\s+(?:of|for) | prompt\w*\s+(?:\w+\s+){0,3}?of |
            establish\w* | label\s+is | named? | (?:conclusion|diagnosis|answer|impression)\s*[:\-\u2013]
            """
        ),
    ),
)
#: Cues after the name, up to the next name or the end of the clause.
AFTER: tuple[tuple[Status, re.Pattern[str]], ...] = (
    (
        "denied",
        _after(
            r"""
            (?:is|are|was|were|be|being|been|remains?|seems?|appears?|becomes?|emerges?(?:\s+as)?|would\s+be|
              stands\s+out\s+as)\s+(?:\w+\s+){0,2}?(?:less|unlikely|not|ruled\s+out|excluded|improbable|atypical|
              inconsistent|implausible|uncommon|rare|absent|lower|eliminated|dismissed)\b |
            (?:can|could|may)\s+be\s+(?:\w+\s+)?(?:ruled\s+out|excluded|dismissed|eliminated) |
            less\s+(?:likely|consistent|probable|typical) |
            (?:does|do|did|would|is|are|can|could|has|have)(?:\s+not|n't|not\b) | unlikely |
            (?:typically|usually|often|generally|commonly|classically|rarely|normally|tends?\s+to)\b | lacks?\b |
            would\s+(?:\w+\s+)?(?:show|present|be\s+expected|cause|have|exhibit|display|be\s+more) |
            (?:presents|causes|affects|involves|features|shows|has|have|tends)\b
            """
        ),
    ),
    (
        "weighed",
        _after(
            r"""
            (?:is|are|was|were|be|being|been|remains?|seems?|appears?|becomes?|emerges?(?:\s+as)?|would\s+be|
              stands\s+out\s+as)\s+(?:\w+\s+){0,3}?(?:possib\w+|considered|considerations?|differentials?|
              conceivable|plausible\s+alternative|alternatives?|less\s+common) |
            (?:could|might|may|can|should|must|needs?\s+to)\s+(?:\w+\s+){0,2}?(?:be|explain|present|account|mimic|
              cause|show|have|resemble|look) |
            also\s+possible | remains?\s+in | as\s+(?:a|one)\s+(?:\w+\s+)?(?:possibility|
              consideration|alternative|differential)
            """
        ),
    ),
    (
        "asserted",
        _after(
            r"""
            (?:is|are|was|were|be|being|been|remains?|seems?|appears?|becomes?|emerges?(?:\s+as)?|would\s+be|
              stands\s+out\s+as)\s+(?:[\w\-']+\s+){0,4}?(?:most|likely|best|leading|primary|top|final|probable|
              strongest|favou?red|prime|foremost|supported|confirmed|diagnosis|suspected|conclusion|suggested|
              indicated|clear|evident|consistent|fit) |
            (?:best|most)\s+(?:\w+\s+)?(?:explains?|fits?|matches|accounts?) |
            fits?\s+(?:\w+\s+){0,2}?(?:best|well|most|perfectly|closely) | (?:best|most)\s+fits? |
            aligns?\s+(?:\w+\s+){0,2}?(?:best|most|well|closely|perfectly|strongly) |
            as\s+(?:the|a)\s+(?:[\w\-]+\s+){0,4}?(?:diagnosis|cause|candidate|conclusion|pathology|explanation|fit|
              disease|condition|etiology|(?<=primary\s)consideration|(?<=leading\s)consideration) |
            matches\s+(?:\w+\s+)?(?:best|well|most|perfectly) | stands\s+out | emerges
            """
        ),
    ),
)
