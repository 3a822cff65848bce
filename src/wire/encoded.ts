import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import { framed, frameInto, PREFIX_BYTES } from "./grpc-frames.ts";
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
  /** The same without what frames them, as views. */
  readonly messages: readonly Buffer[];

  private constructor(desc: D, messages: readonly Uint8Array[]) {
    const bytes = messages.reduce((sum, { length }) => sum + PREFIX_BYTES + length, 0);
    // Memory of its own: it may be kept, and a pool would be kept with it.
    const frames = Buffer.allocUnsafeSlow(bytes);
    let at = 0;
    this.desc = desc;
    this.frames = frames;
    this.messages = messages.map((message) => {
      const start = at + PREFIX_BYTES;
      at = frameInto(frames, at, message);
      return frames.subarray(start, at);
    });
  }

  static of<D extends DescMessage>(desc: D, message: MessageInitShape<D>): Encoded<D> {
    return new Encoded(desc, [encode(desc, message)]);
  }

  /** All of them, in this order. */
  static inARow<D extends DescMessage>(desc: D, parts: readonly Encoded<D>[]): Encoded<D> {
    return new Encoded(
      desc,
      parts.flatMap((part) => messagesOf(desc, part)),
    );
  }
}

/**
 * What a handler of a method with this output answered, as a stream carries it.
 * @throws TypeError when it was encoded as something else: a bug.
 */
export const framesOf = (desc: DescMessage, answer: unknown): Buffer =>
  answer instanceof Encoded ? checked(desc, answer).frames : framed(encode(desc, answer as never));

/** The same for a transport that frames messages itself. */
export function messagesOf(desc: DescMessage, answer: unknown): readonly Buffer[] {
  if (answer instanceof Encoded) return checked(desc, answer).messages;
  const { buffer, byteOffset, byteLength } = encode(desc, answer as never);
  return [Buffer.from(buffer, byteOffset, byteLength)];
}

function checked(desc: DescMessage, answer: Encoded): Encoded {
  if (answer.desc === desc) return answer;
  throw new TypeError(`a ${answer.desc.typeName} in place of a ${desc.typeName}`);
}
