/**
 * What the sidecar says while it runs: one line on standard error for a person, the same as one JSON
 * line where standard error is not a terminal. Names, ids, states and hashes: never a payload, never
 * a key.
 */
export type Report = (event: string, facts?: Readonly<Record<string, string | number>>) => void;

export const stderrReport: Report = (event, facts = {}) => {
  if (!process.stderr.isTTY) {
    process.stderr.write(`${JSON.stringify({ event, ...facts })}\n`);
    return;
  }
  const told = Object.entries(facts).map(([key, value]) => `${key}=${value}`);
  process.stderr.write(`dragons: ${[event, ...told].join("  ")}\n`);
};
