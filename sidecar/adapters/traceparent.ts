const ZEROS = /^0+$/;

/**
 * A W3C traceparent as it is recorded, `00-<trace id>-<parent id>-<flags>`; empty where what was sent
 * is none: a receipt's goal is no place for whatever an agent likes to write. What goes on to the
 * upstream is not touched.
 */
export function readTraceparent(sent: string | null | undefined): string {
  const parts = /^00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$/.exec(sent ?? "");
  if (parts === null) return "";
  const [whole, trace, parent] = parts as unknown as [string, string, string];
  return ZEROS.test(trace) || ZEROS.test(parent) ? "" : whole;
}
