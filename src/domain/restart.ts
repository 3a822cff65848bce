/** When an agent that ended is started again. What an operator ended is not. */
export const RESTARTS = ["never", "on-failure", "always"] as const;
export type Restart = (typeof RESTARTS)[number];
