import { fromBase64Url, toBase64Url } from "./bytes.ts";
import { bytes, CodecError, message, str, u32, u64 } from "./canonical.ts";
import { type Invalid, invalid } from "./invalid.ts";

/**
 * All that a sidecar is given to come aboard: the join key's private half, where to dock, and what
 * to trust there. Text: `dgj_` and the base64url of this body. A secret: whoever has it can open a
 * ledger under its dock.
 */
const JoinTokenBody = message("joinToken", {
  version: u32(1),
  tenantId: str(2),
  joinSeed: bytes(3, 32),
  dockRef: bytes(4, 32),
  manifestHash: bytes(5, 32),
  /** The tenant root's public key: pinned, everything else is verified from it. */
  rootKey: bytes(6, 32),
  /** `host:port` of the control plane's gRPC server. */
  controlAddress: str(7),
  /** Certificate authority of that server, PEM. */
  controlCa: str(8),
  /** Of the keyset in force when it was made: who comes aboard takes no older one. 0: not said. */
  keysetVersion: u64(9),
});
export type JoinToken = ReturnType<typeof JoinTokenBody.decode>;

const PREFIX = "dgj_";

export const formatJoinToken = (token: JoinToken): string =>
  PREFIX + toBase64Url(JoinTokenBody.encode(token));

export function parseJoinToken(text: string): JoinToken | Invalid {
  if (!text.startsWith(PREFIX)) return invalid("E_FIELD", `join token: must begin with ${PREFIX}`);
  try {
    const token = JoinTokenBody.decode(fromBase64Url(text.slice(PREFIX.length)));
    if (token.version !== 1) return invalid("E_VERSION", `join token: version ${token.version}`);
    return token;
  } catch (error) {
    // Never the text itself: it is a secret.
    const detail = error instanceof CodecError ? error.message : "join token: is not base64url";
    return invalid("E_ENCODING", detail);
  }
}
