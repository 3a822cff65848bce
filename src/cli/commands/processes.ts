/**
 * The processes by name. This file alone may reach into the control plane and the sidecar, and only
 * to start them: from there on processes meet through proto.
 */
export const sidecar = async (args: readonly string[]): Promise<number> =>
  (await import("../../../sidecar/main.ts")).sidecarMain(args);

export const keeper = async (args: readonly string[]): Promise<number> =>
  (await import("../../../sidecar/keeper/main.ts")).keeperMain(args);

/** null: an agent can be sealed here, as was tried. Else why not was said. */
export const sealable = async (cwd: string, writable: readonly string[]): Promise<number | null> =>
  (await import("../../../sidecar/keeper/sealable.ts")).sealable(cwd, writable);

/** Makes a cage with a canary in it; what of its walls does not hold, or why there can be none. */
export const trySealing = async () => (await import("../../../sidecar/cage/trial.ts")).tryCage();

export const control = async (args: readonly string[]): Promise<number> => {
  // What serves begins anew, and would have loaded all the rest for nothing. A verb does something else.
  const [first = "--"] = args;
  if (first.startsWith("--")) (await import("../../control/engine.ts")).keepCrowded();
  return (await import("../../control/main.ts")).main(args);
};

/** What a process has to do first of all if it is to become a sidecar. */
export const beforeSidecar = async (): Promise<void> =>
  (await import("../../../sidecar/engine.ts")).keepSmall();
