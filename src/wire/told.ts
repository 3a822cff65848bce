import { StatusError } from "./status.ts";

/** Told what a handler threw that was no StatusError: a bug or broken storage. */
export type CallFault = (error: unknown, method: string) => void;

/** A call's failure as its caller hears of it. @param aborted nobody waits for it any more. */
export function told(
  error: unknown,
  aborted: boolean,
  path: string,
  onFault: CallFault,
): StatusError {
  if (error instanceof StatusError) return error;
  if (aborted) return new StatusError("CANCELLED", "", "cancelled");
  onFault(error, path);
  return new StatusError("INTERNAL", "INTERNAL", "the control plane failed at this call");
}
