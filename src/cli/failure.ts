/** Exit codes of the command line, by sysexits where they have one. */
export const EXIT = {
  ok: 0,
  failed: 1,
  /** A verdict of the wrong kind: denied, or evidence that is broken. */
  refused: 2,
  /** What holds, but is proven less far than asked. */
  unproven: 3,
  usage: 64,
  unreachable: 69,
  /** Our own fault: the only exit that prints a stack. */
  bug: 70,
  retry: 75,
  notPermitted: 77,
  config: 78,
} as const;

/** What a command cannot do, in one sentence with the way out. Printed without a stack. */
export class Failure extends Error {
  override readonly name = "Failure";
  readonly exit: number;
  constructor(exit: number, message: string) {
    super(message);
    this.exit = exit;
  }
}

/** Nobody answers there: worth another try, unlike every other failure. */
export class Unreachable extends Failure {
  constructor(message: string) {
    super(EXIT.unreachable, message);
  }
}
