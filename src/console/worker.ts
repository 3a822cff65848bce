import { noble } from "../domain/noble.ts";
import { isTrustFault, parseTrustFile } from "../verifier/trust-file.ts";
import { verify } from "../verifier/verify.ts";
import type { Ask, Tell } from "./messages.ts";

/** The verifier on a thread of its own, so that the page stays awake while it works. */

const tell = (message: Tell): void => self.postMessage(message);

self.addEventListener("message", ({ data }: MessageEvent<Ask>) => {
  void answer(data).catch((error: unknown) =>
    tell({ tell: "failure", id: data.id, message: String(error) }),
  );
});

async function answer({ id, pack, trust: text, nowUs }: Ask): Promise<void> {
  const trust = text === null ? null : parseTrustFile(noble, text);
  if (trust !== null && isTrustFault(trust)) return tell({ tell: "fault", id, fault: trust });
  const chunks = read(pack, (bytes) => tell({ tell: "progress", id, read: bytes, of: pack.size }));
  tell({ tell: "report", id, report: await verify(noble, chunks, { trust, nowUs }) });
}

async function* read(pack: Blob, onRead: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  const reader = pack.stream().getReader();
  let bytes = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      bytes += value.length;
      onRead(bytes);
      yield value;
    }
  } finally {
    reader.releaseLock();
  }
}
