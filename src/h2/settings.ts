import {
  headerListBytesMax,
  streamsPerConnectionMax,
  streamWindowBytes,
} from "../domain/limits.ts";
import { CODE, type Fault, fault, PAYLOAD_BYTES, WINDOW_DEFAULT, WINDOW_MAX } from "./frames.ts";

const HEADER_TABLE_SIZE = 1;
const ENABLE_PUSH = 2;
const MAX_CONCURRENT_STREAMS = 3;
const INITIAL_WINDOW_SIZE = 4;
const MAX_FRAME_SIZE = 5;
const MAX_HEADER_LIST_SIZE = 6;
/** RFC 8441: a stream may become what a connection would by HTTP/1.1's upgrade. */
const ENABLE_CONNECT_PROTOCOL = 8;

/** Six bytes each: an identifier and a value. */
const ENTRY = 6;

/** What a peer takes, until it says otherwise. */
export class PeerSettings {
  maxStreams = Number.POSITIVE_INFINITY;
  /** Bytes of a stream that may be under way to it. */
  initialWindow = WINDOW_DEFAULT;
  /** It named a size for our header table, so that it may wait for us to name ours. */
  tableSizeSaid = false;

  /** Takes the payload of a SETTINGS frame. @param fromServer whether the peer is one. */
  apply(bytes: Buffer, start: number, end: number, fromServer: boolean): Fault | null {
    if ((end - start) % ENTRY !== 0) return fault(CODE.FRAME_SIZE_ERROR, "SETTINGS are torn");
    for (let at = start; at < end; at += ENTRY) {
      const value = bytes.readUInt32BE(at + 2);
      switch (bytes.readUInt16BE(at)) {
        case HEADER_TABLE_SIZE:
          this.tableSizeSaid = true;
          break;
        case ENABLE_PUSH:
          if (value > 1 || (fromServer && value !== 0)) {
            return fault(CODE.PROTOCOL_ERROR, `ENABLE_PUSH is ${value}`);
          }
          break;
        case MAX_CONCURRENT_STREAMS:
          this.maxStreams = value;
          break;
        case INITIAL_WINDOW_SIZE:
          if (value > WINDOW_MAX) {
            return fault(CODE.FLOW_CONTROL_ERROR, `INITIAL_WINDOW_SIZE is ${value}`);
          }
          this.initialWindow = value;
          break;
        case MAX_FRAME_SIZE:
          // We write no longer ones than everybody takes.
          if (value < PAYLOAD_BYTES || value > 0xff_ffff) {
            return fault(CODE.PROTOCOL_ERROR, `MAX_FRAME_SIZE is ${value}`);
          }
          break;
        default:
          // Unknown ones are to be ignored. MAX_HEADER_LIST_SIZE is advice: who minds will say so.
          break;
      }
    }
    return null;
  }
}

/**
 * What we take, as the payload of our one SETTINGS frame.
 *
 * @param headerTable whether fields may be kept for the header blocks that follow.
 */
export function ownSettings(
  role: "server" | "client",
  extendedConnect: boolean,
  headerTable: boolean,
): Buffer {
  const entries: (readonly [number, number])[] = [
    [INITIAL_WINDOW_SIZE, streamWindowBytes],
    [MAX_HEADER_LIST_SIZE, headerListBytesMax],
    role === "client" ? [ENABLE_PUSH, 0] : [MAX_CONCURRENT_STREAMS, streamsPerConnectionMax],
    ...(headerTable ? [] : [[HEADER_TABLE_SIZE, 0] as const]),
    ...(extendedConnect ? [[ENABLE_CONNECT_PROTOCOL, 1] as const] : []),
  ];
  const out = Buffer.alloc(entries.length * ENTRY);
  entries.forEach(([id, value], i) => {
    out.writeUInt16BE(id, i * ENTRY);
    out.writeUInt32BE(value, i * ENTRY + 2);
  });
  return out;
}
