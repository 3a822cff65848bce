import { KeyError } from "../native/keys.ts";
import { type StatusCode, StatusError } from "../wire/status.ts";
import { EXIT, Failure } from "./failure.ts";

/** What a refusal means to a script. Codes without a row are plain failures. */
const EXIT_OF: Partial<Record<StatusCode, number>> = {
  INVALID_ARGUMENT: EXIT.usage,
  UNAVAILABLE: EXIT.unreachable,
  DEADLINE_EXCEEDED: EXIT.unreachable,
  ABORTED: EXIT.retry,
  RESOURCE_EXHAUSTED: EXIT.retry,
  PERMISSION_DENIED: EXIT.notPermitted,
  UNAUTHENTICATED: EXIT.notPermitted,
};

/** What went wrong as a sentence and an exit code; null: nobody foresaw it, so it is a bug. */
export function explain(error: unknown): Failure | null {
  if (error instanceof Failure) return error;
  if (error instanceof KeyError) return new Failure(EXIT.config, error.message);
  if (error instanceof StatusError) {
    const reason = error.reason === "" ? "" : ` (${error.reason})`;
    return new Failure(EXIT_OF[error.code] ?? EXIT.failed, `${error.message}${reason}`);
  }
  // Files are somebody else's: one that cannot be read or written is told by its path.
  const { code, path, message } = error as NodeJS.ErrnoException;
  if (typeof code === "string" && typeof path === "string")
    return new Failure(EXIT.config, message);
  return null;
}
