"""Section 10a: what was left to spend, as claims say, follows from the intents before them."""

from bisect import bisect_left
from collections import deque

from .canonical import Broken
from .decide import UNLIMITED

MINUTE = 60 * 10**6
NONE = (UNLIMITED,) * 4


def of(lease, scope):
    """(actions, bytes, per minute, at once)"""
    granted = lease.scopes.get(scope) if lease else None
    if granted is None:
        return NONE
    return (
        granted.max_actions,
        granted.max_bytes,
        granted.rate_per_minute,
        granted.max_concurrent,
    )


class Scope:
    def __init__(self):
        self.taken, self.offset, self.total = 0, None, 0
        self.opened_then, self.sums = [], [0]
        self.minute = deque()


class Limits:
    def __init__(self, leases, partial):
        self.scopes, self.partial, self.open = {}, partial, 0
        self.most = {}
        for lease in leases.values():
            for name in lease.scopes:
                self.most[name] = max(self.most.get(name, 0), of(lease, name)[1])
        self.beats = {}

    def scope(self, name):
        return self.scopes.setdefault(name, Scope())

    def charged(self, receipt, lease, shown):
        """At the receipt: what its bytes cost."""
        h, scope = receipt, self.scope(receipt.scope)
        if h.kind == "ACTION":
            limited = of(lease, h.scope)[1] != UNLIMITED
            if not limited and h.spent_bytes:
                raise Broken("E_LIMIT_STATE", "bytes charged where none are limited", 38, h.seq)
            known = "action" in shown and "outcome" in shown and h.verdict != "INDETERMINATE"
            if limited and known:
                if h.spent_bytes != shown["action"].body_bytes + shown["outcome"].body_bytes:
                    raise Broken("E_LIMIT_STATE", "not the bytes of its bodies", 38, h.seq)
        most = self.most.get(h.scope, UNLIMITED)
        crashed = h.verdict == "INDETERMINATE"
        scope.total += 0 if crashed else h.spent_bytes
        if most != UNLIMITED and (h.spent_bytes if crashed else scope.total) > most:
            raise Broken("E_LIMIT_EXCEEDED", "more bytes than any lease allows", 38, h.seq)
        if h.spent_bytes:
            scope.opened_then.append(h.intents_opened)
            scope.sums.append(scope.sums[-1] + h.spent_bytes)

    def intent(self, k, intent, flag):
        """In the order of intents. An open row has no scope that anybody could know."""
        if intent.scope is None:
            self.open += 1
        else:
            self._judge(k, intent, flag)

    def _judge(self, k, intent, flag):
        scope, limits = self.scope(intent.scope), of(intent.lease, intent.scope)
        most, _, rate, _ = limits
        left = [s for s in intent.limit_state or []]
        if self.partial and scope.offset is None and most != UNLIMITED and left:
            if left[0].scope == intent.scope:
                scope.offset = most - left[0].actions_left - scope.taken
        taken = scope.taken + (scope.offset or 0)
        if most != UNLIMITED and taken >= most:
            raise Broken("E_LIMIT_EXCEEDED", f"{taken} of {most} were taken", 38, intent.seq)
        if intent.limit_state is not None:
            self._state(k, intent, limits, taken, scope)
        scope.taken += 1
        if rate != UNLIMITED:
            while scope.minute and scope.minute[0] <= intent.opened_at_us - MINUTE:
                scope.minute.popleft()
            scope.minute.append(intent.opened_at_us)
            if len(scope.minute) > rate:
                flag("RATE_EXCEEDED", intent.seq)

    def _state(self, k, intent, limits, taken, scope):
        def wrong(what):
            raise Broken("E_LIMIT_STATE", what, 38, intent.seq)

        if len(intent.limit_state) != 1 or intent.limit_state[0].scope != intent.scope:
            wrong("not one state, of its scope")
        s = intent.limit_state[0]
        actions, most_bytes, rate, together = limits
        spent = scope.sums[bisect_left(scope.opened_then, k)]
        for limit, left, most, least in (
            (actions, s.actions_left, actions - taken, actions - taken - self.open),
            (most_bytes, s.bytes_left, most_bytes - spent, 0),
            (together, s.concurrent_left, together, 0),
            (rate, s.rate_left, rate, 0),
        ):
            if left != UNLIMITED if limit == UNLIMITED else not least <= left <= most:
                wrong(f"{left} left of {limit}")

    def beat(self, heartbeat):
        for s in heartbeat.body.spent:
            known = self.scope(s.scope)
            if s.actions < known.taken + (known.offset or 0):
                raise Broken("E_LIMIT_STATE", "told of less than was spent", 38, heartbeat.body.size)
