"""The state of a commit: what its requests may have made, and what follows from that (pure)."""

from __future__ import annotations

from enum import Flag, auto

__all__ = ["Fate"]


class Fate(Flag):
    """What the requests sent so far may have made under the key.

    The facts are independent, because a look settles MAY_EXIST and not MAY_COME: a server that
    is still at work shows nothing yet. These combinations are reachable, each shown by
    tests/unit/uploader/test_commit.py; the fault tests with a server reach all but the last two,
    which take a damaged answer and then a lost one:

    state                          reached by                                  left behind  abort
    NOTHING                        nothing sent; refused; a look found         nothing      yes
                                   nothing, and every try was answered
    MAY_EXIST                      sent; answered with an error such as 500    unknown      no
    MAY_EXIST MAY_COME             sent and never answered                     unknown      no
    MAY_COME                       ... and then a look found nothing           unknown      no
    MADE                           answered with success; a look found it      unproved     no
    MADE DISPROVED                 the proof failed                            disproved    no
    MADE MAY_EXIST                 `put` replaces its own damaged object       unknown      no
    MADE MAY_EXIST MAY_COME        ... and is never answered                   unknown      no
    MADE MAY_COME                  ... and then a look found nothing           unknown      no

    What happens next, from any of them:

    a request is sent              + MAY_EXIST
    it never left, was refused     the state before it was sent
    an error is answered           no change
    no answer, or a gateway's      + MAY_COME
    a look finds our object        - MAY_EXIST - MAY_COME + MADE
    a look finds nothing of ours   - MAY_EXIST (MADE stays: a server may answer from the past)
    a look tells nothing           no change
    a refusal rules out late ones  - MAY_COME (see `Commit._raise_refusal`)
    success is answered            MADE alone
    the proof fails                MADE DISPROVED; NOTHING where the object is another writer's
                                   or not there
    """

    NOTHING = 0
    MAY_EXIST = auto()
    MAY_COME = auto()
    MADE = auto()
    DISPROVED = auto()
    UNDECIDED = MAY_EXIST | MAY_COME
