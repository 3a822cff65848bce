import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import { framed, framedInARow } from "./grpc-frames.ts";
import { encode } from "./messages.ts";

/**
 * An answer, or several in a row, that is encoded already: what is said to many is made once, and all of
 * their streams send the same bytes. Nobody may write to them.
 */
export class Encoded<D extends DescMessage = DescMessage> {
  /** What it was encoded as: a stream of anything else refuses it. */
  readonly desc: D;
  /** The messages, each as gRPC frames it. */
  readonly frames: Buffer;

  private constructor(desc: D, frames: Buffer) {
    this.desc = desc;
    this.frames = frames;
  }

  static of<D extends DescMessage>(desc: D, message: MessageInitShape<D>): Encoded<D> {
    return new Encoded(desc, framed(encode(desc, message)));
  }

  /**
   * Messages in a row, each of encodings of it in parts, that have no field in common and come in the order
   * of their fields: the bytes that the whole would have, by the rules of protobuf.
   */
  static inARow<D extends DescMessage>(
    desc: D,
    messages: readonly (readonly Uint8Array[])[],
  ): Encoded<D> {
    return new Encoded(desc, framedInARow(messages));
  }
}

/**
 * What a handler of a method with this output answered, as a stream carries it.
 * @throws TypeError when it was encoded as something else: a bug.
 */
export const framesOf = (desc: DescMessage, answer: unknown): Buffer =>
  answer instanceof Encoded ? checked(desc, answer).frames : framed(encode(desc, answer as never));

function checked(desc: DescMessage, answer: Encoded): Encoded {
  if (answer.desc === desc) return answer;
  throw new TypeError(`a ${answer.desc.typeName} in place of a ${desc.typeName}`);
}
