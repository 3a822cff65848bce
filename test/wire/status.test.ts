import { expect, test } from "vitest";
import type { InvalidCode } from "../../src/domain/invalid.ts";
import {
  decodeStatus,
  encodeStatus,
  refusal,
  STATUS_CODES,
  StatusError,
} from "../../src/wire/status.ts";

const CODES = STATUS_CODES.slice(1) as Exclude<(typeof STATUS_CODES)[number], "OK">[];

test.each(CODES)("%s crosses the wire with its reason and metadata", (code) => {
  const error = new StatusError(code, "LEASE_EXPIRED", "it ended", { lease_id: "lse_1" });
  const back = decodeStatus(STATUS_CODES.indexOf(code), "it ended", encodeStatus(error));
  expect(back).toMatchObject({
    code,
    reason: "LEASE_EXPIRED",
    message: "it ended",
    metadata: { lease_id: "lse_1" },
  });
});

test("details that cannot be read, or that contradict the call's code, are as if not sent", () => {
  const details = encodeStatus(new StatusError("NOT_FOUND", "NO_SUCH_OBJECT", "gone"));
  expect(decodeStatus(7, "no", details)).toMatchObject({ code: "PERMISSION_DENIED", reason: "" });
  expect(decodeStatus(7, "no", new Uint8Array([0xff]))).toMatchObject({ reason: "" });
  expect(decodeStatus(99, "?", null)).toMatchObject({ code: "UNKNOWN" });
});

test.each<[InvalidCode, string]>([
  ["E_ENCODING", "INVALID_ARGUMENT"],
  ["E_FIELD", "INVALID_ARGUMENT"],
  ["E_SIGNATURE", "PERMISSION_DENIED"],
  ["E_KEY_UNKNOWN", "PERMISSION_DENIED"],
  ["E_WIDENED", "PERMISSION_DENIED"],
  ["E_ROLLBACK", "ABORTED"],
  ["E_EXPIRED", "FAILED_PRECONDITION"],
])("an artifact refused with %s answers %s", (code, status) => {
  const error = refusal({ invalid: true, code, detail: "why" });
  expect(error).toMatchObject({ code: status, reason: code, message: "why" });
});
