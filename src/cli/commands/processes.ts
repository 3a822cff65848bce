/**
 * The processes by name. This file alone may reach into the control plane and the sidecar, and only
 * to start them: from there on processes meet through proto.
 */
export const sidecar = async (args: readonly string[]): Promise<number> =>
  (await import("../../../sidecar/main.ts")).sidecarMain(args);

export const control = async (args: readonly string[]): Promise<number> =>
  (await import("../../control/main.ts")).main(args);

/** What a process has to do first of all if it is to become a sidecar. */
export const beforeSidecar = async (): Promise<void> =>
  (await import("../../../sidecar/engine.ts")).keepSmall();
