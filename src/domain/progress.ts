import { utf8 } from "./bytes.ts";
import type { Infer } from "./canonical.ts";
import { REPEATS_IN_HAND } from "./conditions.ts";
import type { Crypto } from "./crypto.ts";
import type { Novelty } from "./heartbeat.ts";
import { fingerprintsMax, noveltyWindowParts, noveltyWindowUs } from "./limits.ts";

/** A finished action as semantic progress sees it: what was tried, how it was put, what came of it. */
export interface Finished {
  /** Name of the scope that allowed it, or came nearest. */
  readonly scope: string;
  /** `protocol host:port`. */
  readonly target: string;
  /** How it was put, without what differs each time: verb, path, names of headers. */
  readonly shape: string;
  /** Digest of what was sent, and how long it was, bytes. */
  readonly request: string;
  readonly requestBytes: number;
  /** What came of it: status, and the digest of what was received. */
  readonly answer: string;
  /** It may have changed something: see `mayChange`. */
  readonly effect: boolean;
  readonly completed: boolean;
}

/** So many in a row of one shape and length, with one answer, differ by a nonce and by nothing else. */
const NONCES = 8;
/** So many requests of one shape in a row, each longer than the one before, are one conversation. */
const TURNS = 3;

/**
 * Tells work from mere activity, beside the agent and without its help.
 *
 * Each finished action leaves a fingerprint at three levels, `HMAC-SHA256(key, level ‖ fields)`. One
 * not seen before is novel; a novel outcome of a completed action is progress, with two exceptions. What
 * differs by a nonce alone is not novel. What a growing conversation says is no progress while the
 * deeds beside it repeat themselves: a model that is asked again always says something new.
 *
 * Only counts and a time leave this class: neither key nor fingerprints do. Memory is bounded whatever
 * the agent sends.
 */
export class Progress {
  readonly #fingerprint: (level: string, fields: readonly string[]) => string;
  readonly #targets = new Seen(fingerprintsMax);
  readonly #shapes = new Seen(fingerprintsMax);
  readonly #outcomes = new Seen(fingerprintsMax);
  /** By shape, for those that may change something. */
  readonly #habits = new Map<string, Habit>();
  /** Fingerprint of the last action that may have changed something. */
  #lastEffect = "";
  /** Counts by part of the window, oldest first. */
  #parts: { readonly number: number; readonly counts: Counts }[] = [];
  #latestUs = 0;
  #lastProgressUs = 0;

  /** `key`: 32 random bytes that stay with the tenant. */
  constructor(crypto: Crypto, key: Uint8Array) {
    const mac = hmac(crypto, key);
    this.#fingerprint = (level, fields) => {
      // Each field with its length, so that no two lists run into the same bytes.
      let text = `${level.length}:${level}`;
      for (const f of fields) text += `${f.length}:${f}`;
      // Each byte one character: it is compared and told to nobody.
      return String.fromCharCode(...mac(utf8(text)).subarray(0, 16));
    };
  }

  /** Takes a finished action into account: allowed, failed or denied. Time never runs backward here. */
  record(action: Finished, nowUs: number): void {
    const counts = this.#current(nowUs);
    const { scope, target, shape, request, answer } = action;
    counts.actions++;
    const outcome = this.#fingerprint("outcome", [scope, target, shape, request, answer]);
    // A known outcome comes of a known shape at a known target: most actions cost one fingerprint.
    if (!this.#outcomes.add(outcome)) {
      this.#repeated(counts, action, outcome);
      return;
    }
    const put = this.#fingerprint("shape", [scope, target, shape]);
    const habit = action.effect ? this.#habit(put, action) : null;
    if (habit !== null && habit.alike >= NONCES) {
      this.#repeated(counts, action, put);
      return;
    }
    counts.outcomes++;
    if (this.#shapes.add(put)) counts.shapes++;
    if (this.#targets.add(this.#fingerprint("target", [scope, target]))) counts.targets++;
    if (action.effect) this.#lastEffect = outcome;
    const talk = habit !== null && habit.longer >= TURNS && this.#sum("repeats") >= REPEATS_IN_HAND;
    if (action.completed && !talk) this.#lastProgressUs = this.#latestUs;
  }

  /** A loop takes turns; whoever does one thing again and again polls, or shows that it is there. */
  #repeated(counts: Counts, { effect, completed }: Finished, what: string): void {
    if (!effect || !completed) return;
    if (what !== this.#lastEffect) counts.repeats++;
    this.#lastEffect = what;
  }

  /** What is usual in a shape, this action included. */
  #habit(put: string, { answer, requestBytes }: Finished): Habit {
    const before = this.#habits.get(put);
    const said = this.#fingerprint("answer", [answer]);
    const alike = before?.bytes === requestBytes && before.answer === said;
    const habit = {
      bytes: requestBytes,
      answer: said,
      alike: alike ? before.alike + 1 : 1,
      longer: before !== undefined && requestBytes > before.bytes ? before.longer + 1 : 0,
    };
    this.#habits.delete(put);
    this.#habits.set(put, habit);
    forgetOldest(this.#habits, fingerprintsMax);
    return habit;
  }

  /** Counts from nothing again: another agent is at work. What was seen stays seen. */
  anew(): void {
    this.#parts = [];
    this.#lastEffect = "";
  }

  /** How much was new in the window that ends now. */
  novelty(nowUs: number): Infer<typeof Novelty> {
    this.#current(nowUs);
    return {
      targets: this.#sum("targets"),
      shapes: this.#sum("shapes"),
      outcomes: this.#sum("outcomes"),
      actions: this.#sum("actions"),
      repeats: this.#sum("repeats"),
    };
  }

  #sum(key: keyof Counts): number {
    return this.#parts.reduce((n, part) => n + part.counts[key], 0);
  }

  /** When the last novel action was completed, microseconds since the epoch; 0: none yet. */
  get lastProgressUs(): number {
    return this.#lastProgressUs;
  }

  /** The counts of the part of the window that `nowUs` falls in; forgets parts that have passed. */
  #current(nowUs: number): Counts {
    this.#latestUs = Math.max(this.#latestUs, nowUs);
    const number = Math.floor(this.#latestUs / (noveltyWindowUs / noveltyWindowParts));
    const last = this.#parts.at(-1);
    if (last?.number === number) return last.counts;
    this.#parts = this.#parts.filter((part) => part.number > number - noveltyWindowParts);
    const counts = { targets: 0, shapes: 0, outcomes: 0, actions: 0, repeats: 0 };
    this.#parts.push({ number, counts });
    return counts;
  }
}

/** Of one shape: its last request and answer, how many in a row were like it, and how many grew. */
interface Habit {
  readonly bytes: number;
  readonly answer: string;
  readonly alike: number;
  readonly longer: number;
}

type Counts = { -readonly [K in keyof Infer<typeof Novelty>]: number };

/** A set that forgets what it has not seen for longest. */
class Seen {
  readonly #members = new Set<string>();
  readonly #max: number;
  #latest = "";
  constructor(max: number) {
    this.#max = max;
  }

  /** Whether it is new. Either way it is now the last seen. */
  add(member: string): boolean {
    // Most actions are like the one before, which stands last already.
    if (member === this.#latest) return false;
    this.#latest = member;
    const known = this.#members.delete(member);
    this.#members.add(member);
    forgetOldest(this.#members, this.#max);
    return !known;
  }
}

/** One too many: the one that was put there first goes. */
function forgetOldest(members: Set<string> | Map<string, unknown>, max: number): void {
  if (members.size <= max) return;
  for (const oldest of members.keys()) {
    members.delete(oldest);
    return;
  }
}

/** HMAC-SHA256 (RFC 2104) with the key's two pads made once. */
export function hmac(crypto: Crypto, key: Uint8Array): (message: Uint8Array) => Uint8Array {
  const short = key.length > 64 ? crypto.sha256(key) : key;
  const pad = (byte: number) => Uint8Array.from({ length: 64 }, (_, i) => (short[i] ?? 0) ^ byte);
  const inner = pad(0x36);
  const outer = pad(0x5c);
  return (message) => crypto.sha256(outer, crypto.sha256(inner, message));
}
