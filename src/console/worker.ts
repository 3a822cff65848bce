import type { Ask } from "./messages.ts";
import { answer } from "./reading.ts";

/** The verifier on a thread of its own, so that the page stays awake while it works. */
self.addEventListener("message", ({ data }: MessageEvent<Ask>) => {
  answer(data, (message) => self.postMessage(message)).catch((error: unknown) =>
    self.postMessage({ tell: "failure", id: data.id, message: String(error) }),
  );
});
