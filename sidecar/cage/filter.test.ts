import { describe, expect, test } from "vitest";
import { cageFilter, type FilterOptions } from "./filter.ts";
import type { Machine } from "./syscalls.ts";

/**
 * The filters as a kernel runs them, on either machine: numbers here are the kernel's own headers',
 * written down a second time.
 */

/** `struct seccomp_data`, of which the filter reads the low words. */
interface Call {
  readonly arch: number;
  readonly nr: number;
  readonly args?: readonly number[];
}

/** The classic BPF of <linux/filter.h>, as far as seccomp takes it: what a program answers to a call. */
function run(program: Uint8Array, { arch, nr, args = [] }: Call): number {
  const data = new DataView(new ArrayBuffer(64));
  data.setUint32(0, nr, true);
  data.setUint32(4, arch, true);
  for (const [i, arg] of args.entries()) data.setBigUint64(16 + 8 * i, BigInt(arg), true);
  const view = new DataView(program.buffer, program.byteOffset, program.byteLength);
  let accumulator = 0;
  for (let at = 0; 8 * at < program.length; at++) {
    const [code, held, otherwise, k] = [
      view.getUint16(8 * at, true),
      view.getUint8(8 * at + 2),
      view.getUint8(8 * at + 3),
      view.getUint32(8 * at + 4, true),
    ];
    const jump = (condition: boolean): void => {
      at += condition ? held : otherwise;
    };
    if (code === 0x06) return k;
    // The kernel refuses a program that reads elsewhere.
    else if (code === 0x20 && k % 4 === 0 && k < 64) accumulator = data.getUint32(k, true);
    else if (code === 0x54) accumulator = (accumulator & k) >>> 0;
    else if (code === 0x15) jump(accumulator === k);
    else if (code === 0x35) jump(accumulator >= k);
    else if (code === 0x45) jump((accumulator & k) !== 0);
    else throw new Error(`instruction ${at} is none that is used: ${code}`);
  }
  throw new Error("the program runs out of its end");
}

const ALLOW = 0x7fff_0000;
const KILL = 0x8000_0000;
const [EPERM, ENOSYS, EPROTONOSUPPORT, EAFNOSUPPORT] = [1, 38, 93, 97].map((e) => 0x5_0000 | e);
/** AUDIT_ARCH_X86_64, _AARCH64, _I386 and _ARM. */
const ARCH = { x64: 0xc000_003e, arm64: 0xc000_00b7, i386: 0x4000_0003, arm: 0x4000_0028 };

/** Numbers of the calls that the tests make. */
const NR = {
  x64: { read: 0, ioctl: 16, socket: 41, socketpair: 53, clone: 56, execve: 59, unshare: 272 },
  arm64: {
    read: 63,
    ioctl: 29,
    socket: 198,
    socketpair: 199,
    clone: 220,
    execve: 221,
    unshare: 97,
  },
};
/** What an agent may not call, whatever it says with it. */
const FORBIDDEN = {
  x64: [
    ...[
      101, 103, 153, 154, 155, 161, 163, 164, 165, 166, 167, 168, 169, 170, 171, 172, 173, 175, 176,
    ],
    ...[179, 212, 227, 246, 248, 249, 250, 272, 298, 300, 303, 304, 308, 310, 311, 312, 313, 320],
    ...[321, 323, 428, 429, 430, 431, 432, 433, 438, 440, 442, 443, 467],
  ],
  arm64: [
    ...[18, 39, 40, 41, 51, 58, 60, 89, 97, 104, 105, 106, 112, 116, 117, 142, 161, 162, 170],
    ...[217, 218, 219, 224, 225, 241, 262, 264, 265, 268, 270, 271, 272, 273, 280, 282, 294],
    ...[428, 429, 430, 431, 432, 433, 438, 440, 442, 443, 467],
  ],
};
/** Where the furnishing of a cage is not done yet: mounts. */
const MOUNTING = {
  x64: [155, 161, 165, 166, 428, 429, 430, 431, 432, 433, 442, 467],
  arm64: [39, 40, 41, 51, 428, 429, 430, 431, 432, 433, 442, 467],
};
/** As if there were none: io_uring and clone3. */
const UNKNOWN = [425, 426, 427, 435];
const LAST = 469;

describe.each(["x64", "arm64"] as const)("the filter for %s", (machine: Machine) => {
  const nr = NR[machine];
  const filter = (more: Partial<FilterOptions> = {}) => {
    const program = cageFilter({ machine, of: "AGENT", allowUnix: false, ...more });
    return (number: number, ...args: number[]) =>
      run(program, { arch: ARCH[machine], nr: number, args });
  };
  /** Every number there is that is answered so. */
  const answered = (call: ReturnType<typeof filter>, answer: number | undefined): number[] =>
    Array.from({ length: LAST + 1 }, (_, n) => n).filter((n) => call(n) === answer);

  test("kills who calls as another architecture does", () => {
    const program = cageFilter({ machine, of: "AGENT", allowUnix: false });
    for (const [other, arch] of Object.entries(ARCH)) {
      const answer = run(program, { arch, nr: nr.read });
      expect(answer, other).toBe(other === machine ? ALLOW : KILL);
    }
  });

  test("forbids an agent exactly what is listed, and denies that some of it exists", () => {
    const agent = filter();
    expect(answered(agent, EPERM)).toEqual(FORBIDDEN[machine]);
    expect(answered(agent, ENOSYS)).toEqual(UNKNOWN);
    expect([agent(nr.read), agent(nr.execve)]).toEqual([ALLOW, ALLOW]);
  });

  test("knows no call that is newer than itself, and none of the x32 ABI", () => {
    const agent = filter();
    expect(agent(LAST)).toBe(ALLOW);
    for (const number of [LAST + 1, 1000, 0x4000_0000, 0x4000_0000 + nr.read, 0xffff_ffff]) {
      expect(agent(number), `${number}`).toBe(ENOSYS);
    }
  });

  test("lets who furnishes a cage mount, and only who needs it make a user namespace", () => {
    const without = (...numbers: number[]) =>
      FORBIDDEN[machine].filter((n) => !numbers.includes(n));
    expect(answered(filter({ of: "CAGE" }), EPERM)).toEqual(without(...MOUNTING[machine]));
    expect(answered(filter({ of: "OUTER" }), EPERM)).toEqual(
      without(...MOUNTING[machine], nr.unshare),
    );
  });

  test("lets processes and threads be made, and no namespace of any kind", () => {
    const agent = filter();
    // SIGCHLD; CLONE_VM | FS | FILES | SIGHAND | THREAD | SYSVSEM | SETTLS.
    for (const flags of [17, 0xd_0f00]) expect(agent(nr.clone, flags)).toBe(ALLOW);
    for (const bit of [17, 25, 26, 27, 28, 29, 30]) {
      expect(agent(nr.clone, 2 ** bit + 17), `bit ${bit}`).toBe(EPERM);
    }
  });

  test("lets nobody type into the terminal, whatever the upper half of the request says", () => {
    const agent = filter();
    for (const request of [0x5412, 0x541c, 2 ** 32 + 0x5412]) {
      expect(agent(nr.ioctl, 0, request)).toBe(EPERM);
    }
    // TCGETS, TIOCGWINSZ.
    for (const request of [0x5401, 0x5413]) expect(agent(nr.ioctl, 0, request)).toBe(ALLOW);
  });

  test("lets sockets of TCP, UDP and ICMP be opened, and routes be asked for", () => {
    const agent = filter();
    const [UNIX, INET, INET6, NETLINK, PACKET, VSOCK] = [1, 2, 10, 16, 17, 40] as const;
    for (const family of [INET, INET6]) {
      for (const protocol of [0, 1, 6, 17, 58]) {
        expect(agent(nr.socket, family, 1, protocol)).toBe(ALLOW);
      }
      // SCTP, DCCP, UDP-Lite, MPTCP, raw IP.
      for (const protocol of [132, 33, 136, 262, 255]) {
        expect(agent(nr.socket, family, 1, protocol)).toBe(EPROTONOSUPPORT);
      }
    }
    expect(agent(nr.socket, NETLINK, 3, 0)).toBe(ALLOW);
    expect(agent(nr.socket, NETLINK, 3, 12)).toBe(EPROTONOSUPPORT);
    expect(filter({ of: "CAGE" })(nr.socket, NETLINK, 3, 12)).toBe(ALLOW);
    for (const family of [UNIX, PACKET, VSOCK]) {
      expect(agent(nr.socket, family, 1, 0)).toBe(EAFNOSUPPORT);
    }
    expect(filter({ allowUnix: true })(nr.socket, UNIX, 1, 0)).toBe(ALLOW);
  });

  test("lets pairs be opened that stay pairs: no datagrams, unless unix sockets are allowed", () => {
    const agent = filter();
    const [STREAM, DGRAM, SEQPACKET, CLOEXEC] = [1, 2, 5, 0o2000000] as const;
    for (const kind of [STREAM, SEQPACKET, STREAM | CLOEXEC]) {
      expect(agent(nr.socketpair, 1, kind)).toBe(ALLOW);
    }
    expect(agent(nr.socketpair, 1, DGRAM | CLOEXEC)).toBe(EPROTONOSUPPORT);
    expect(agent(nr.socketpair, 2, STREAM)).toBe(EAFNOSUPPORT);
    expect(filter({ allowUnix: true })(nr.socketpair, 1, DGRAM)).toBe(ALLOW);
  });
});
