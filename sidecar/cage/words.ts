import type { Machine } from "./syscalls.ts";

/** What the outside and the inside of a cage say to each other, and where things lie inside. */

/** The measured files, before each is shown in its place. */
export const SNAPSHOT = "/run/dragons/snapshot";
/** Descriptor that is the agent's standard error; the cage's own is whoever made it. */
export const STDERR = 4;
/** Descriptor of Node's messages. */
export const MESSAGES = 3;

/** A listening socket of a cage's, held open and not read by its holder. Node has no name for it. */
export interface Held {
  readonly fd: number;
  close(): void;
}

/** What the cage is furnished with: first of all, and of all that is said. */
export interface Furniture {
  readonly ip: string;
  readonly nft: string;
  /** Whose number the agent has, there and here, and of which group. */
  readonly uid: number;
  readonly gid: number;
  /** Makes the user namespace in which it has that number; needed by all but root. */
  readonly unshare: string;
  /** Ports of loopback that lead out, to be judged like everything else that does. */
  readonly outside: readonly number[];
  readonly filter: { readonly machine: Machine; readonly allowUnix: boolean };
}

/** To the inside, once it waits: what is to be there when the agent starts. */
export interface Prepare {
  /** Written before it starts: path and text. */
  readonly files: Readonly<Record<string, string>>;
  /** Paths that the agent is to see as they were measured. */
  readonly snapshot: readonly string[];
}

/** To the inside, last: who is to be started. */
export interface Start {
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** From the inside; `transparent` and `dns` come with the handle of a socket that listens there. */
export type FromInside =
  | { readonly say: "transparent" | "dns" | "furnished" | "prepared" }
  | { readonly say: "not started"; readonly exit: number; readonly why: string };
