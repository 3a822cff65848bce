import { toHex } from "../../domain/bytes.ts";
import { TransitionBody } from "../../domain/transition.ts";

/** What an alarm carries: of one kind the join key, of the other the transition. */
interface Carried {
  readonly joinKey: Uint8Array;
  /** Signed; absent or empty: it is of the other kind. */
  readonly transition?: { readonly body: Uint8Array } | undefined;
}

/** An alarm in a sentence, with what to do about it. */
export const alarmText = ({ joinKey, transition }: Carried): string =>
  transition === undefined || transition.body.length === 0
    ? joinKeySpent(joinKey)
    : remediesSpent(TransitionBody.decode(transition.body));

const joinKeySpent = (joinKey: Uint8Array): string =>
  `join key ${toHex(joinKey).slice(0, 16)} was used again after it was spent: its token is in more ` +
  "hands than one; look at what docked with it, and revoke what you do not know";

const remediesSpent = ({ instanceId, condition, to }: TransitionBody): string =>
  `no remedy helped ${instanceId} against ${condition}: it is ${to.toLowerCase()}; look at it with ` +
  `dragons organism show ${instanceId}, then ${to === "QUARANTINED" ? "release or stop" : "mend or stop"} it`;
