import { availableParallelism } from "node:os";
import { join } from "node:path";
import { type Frugal, keepFrugal } from "../native/frugal.ts";

/**
 * Thousands of sidecars stay connected. OpenSSL's input of each has 64 KiB, of which a sidecar fills a
 * few: from that size on memory comes from the kernel, untouched, where the heap would give it
 * what others have written to.
 */
const CROWDED: Frugal = {
  youngMb: 16,
  scavengesAlone: true,
  // What lives is sessions, for hours: little is added to them, and a fifth more is found soon enough.
  growthPercent: 18,
  countsExternal: true,
  // Thousands who dock stay, and those who beat do not: their beats are read by the same lines.
  bornYoung: true,
  malloc: { MALLOC_ARENA_MAX: "2", MALLOC_MMAP_THRESHOLD_: "65536", MALLOC_TOP_PAD_: "0" },
  // One for the disk, and one for whatever else is asked of it. Signatures have a thread of their own.
  threads: 2,
  // More than there are cores beside the one that answers take that one from it. Four are V8's own number.
  helpers: Math.min(Math.max(availableParallelism() - 1, 1), 4),
  openssl: join(import.meta.dirname, "openssl.cnf"),
};

/** Keeps the memory of this process as suits thousands of connections; it may begin anew in place. */
export const keepCrowded = (): void => keepFrugal(CROWDED);
