import {
  answer,
  assemble,
  FIELD,
  type Instruction,
  load,
  mask,
  unlessEqual,
  whenAnyBit,
  whenAtLeast,
  whenEqual,
} from "./bpf.ts";
import { ARCHITECTURE, LAST_KNOWN, type Machine, SYSCALLS, type Syscall } from "./syscalls.ts";

export interface FilterOptions {
  readonly machine: Machine;
  /**
   * CAGE: for everything in it, from before it is furnished; furnishing takes mounts and netfilter.
   * OUTER: the same where the agent is to have a user namespace of its own inside, so that it cannot
   * reach who stays behind. AGENT: on top of that, for whoever is started in it.
   */
  readonly of: "CAGE" | "OUTER" | "AGENT";
  /** Unix sockets by path lead out of the cage, wherever a folder of it is the host's. */
  readonly allowUnix: boolean;
}

// From <linux/seccomp.h>.
const ALLOW = 0x7fff_0000;
const KILL = 0x8000_0000;
const refuse = (errno: number): Instruction[] => answer(0x0005_0000 | errno);

// From <asm-generic/errno.h>.
const EPERM = 1;
const ENOSYS = 38;
const EPROTONOSUPPORT = 93;
const EAFNOSUPPORT = 97;

/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, from <linux/sched.h>. */
const NEW_NAMESPACES = 0x7e02_0000;
/** System calls of the x32 ABI carry this bit. */
const X32 = 0x4000_0000;
/** TIOCSTI and TIOCLINUX type on the terminal what its shell reads once the agent is gone. */
const TERMINAL_INPUT = [0x5412, 0x541c];

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const AF_NETLINK = 16;
const SOCK_STREAM = 1;
const SOCK_SEQPACKET = 5;
/** Without SOCK_NONBLOCK and SOCK_CLOEXEC. */
const SOCK_TYPE = 0xf;
/** ANY, ICMP, TCP, UDP, ICMPv6: no SCTP, DCCP, UDP-Lite or MPTCP, which the cage would not carry. */
const INET_PROTOCOLS = [0, 1, 6, 17, 58];
/** Addresses and routes of the cage's own network, which name look-ups ask for. */
const NETLINK_ROUTE = 0;
const NETLINK_NETFILTER = 12;

/** As if the kernel did not have them: whoever tries falls back to something that is judged. */
const UNKNOWN: readonly Syscall[] = [
  // Does what it is told behind the filter's back.
  "io_uring_setup",
  "io_uring_enter",
  "io_uring_register",
  // Its flags stand in memory, where no filter can look.
  "clone3",
];

/** Nobody in the cage needs them, and each has been a way out of one, or into the kernel. */
const FORBIDDEN: readonly Syscall[] = [
  "setns",
  "ptrace",
  "process_vm_readv",
  "process_vm_writev",
  "process_madvise",
  "pidfd_getfd",
  "kcmp",
  "bpf",
  "perf_event_open",
  "userfaultfd",
  "add_key",
  "request_key",
  "keyctl",
  "name_to_handle_at",
  "open_by_handle_at",
  "fanotify_init",
  "quotactl",
  "quotactl_fd",
  "acct",
  "syslog",
  "swapon",
  "swapoff",
  "reboot",
  "sethostname",
  "setdomainname",
  "settimeofday",
  "clock_settime",
  "init_module",
  "finit_module",
  "delete_module",
  "kexec_load",
  "kexec_file_load",
  "lookup_dcookie",
  "vhangup",
  "iopl",
  "ioperm",
  "modify_ldt",
];

/** Of whoever furnishes the cage alone. */
const FURNISHING: readonly Syscall[] = [
  "mount",
  "umount2",
  "pivot_root",
  "chroot",
  "open_tree",
  "open_tree_attr",
  "move_mount",
  "fsopen",
  "fsconfig",
  "fsmount",
  "fspick",
  "mount_setattr",
];

/**
 * The seccomp filter of a cage, as an array of `struct sock_filter`. It lists what is refused: an agent
 * may be any program, and what a namespace holds already needs no second wall. Calls that are newer
 * than this list do not exist in the cage, and neither does any other architecture's way to call.
 */
export function cageFilter(options: FilterOptions): Uint8Array<ArrayBuffer> {
  const { machine, of } = options;
  const column = machine === "x64" ? 0 : 1;
  const on = (name: Syscall, body: readonly Instruction[]): Instruction[] => {
    const number = SYSCALLS[name][column];
    return number === null ? [] : whenEqual(number, body);
  };
  const forbidden = [
    ...FORBIDDEN,
    ...(of === "OUTER" ? [] : (["unshare"] as const)),
    ...(of === "AGENT" ? FURNISHING : []),
  ];
  return assemble([
    ...load(FIELD.architecture),
    ...unlessEqual(ARCHITECTURE[machine], answer(KILL)),
    ...load(FIELD.number),
    ...whenAtLeast(X32, refuse(ENOSYS)),
    ...whenAtLeast(LAST_KNOWN + 1, refuse(ENOSYS)),
    ...UNKNOWN.flatMap((name) => on(name, refuse(ENOSYS))),
    ...forbidden.flatMap((name) => on(name, refuse(EPERM))),
    ...on("clone", [
      ...load(FIELD.argument(0)),
      ...whenAnyBit(NEW_NAMESPACES, refuse(EPERM)),
      ...answer(ALLOW),
    ]),
    ...on("ioctl", [
      ...load(FIELD.argument(1)),
      ...TERMINAL_INPUT.flatMap((request) => whenEqual(request, refuse(EPERM))),
      ...answer(ALLOW),
    ]),
    ...on("socket", socket(options)),
    ...on("socketpair", socketpair(options)),
    ...answer(ALLOW),
  ]);
}

function socket({ of, allowUnix }: FilterOptions): Instruction[] {
  const protocols = (allowed: readonly number[]): Instruction[] => [
    ...load(FIELD.argument(2)),
    ...allowed.flatMap((protocol) => whenEqual(protocol, answer(ALLOW))),
    ...refuse(EPROTONOSUPPORT),
  ];
  const netlink = of === "AGENT" ? [NETLINK_ROUTE] : [NETLINK_ROUTE, NETLINK_NETFILTER];
  return [
    ...load(FIELD.argument(0)),
    ...(allowUnix ? whenEqual(AF_UNIX, answer(ALLOW)) : []),
    ...whenEqual(AF_INET, protocols(INET_PROTOCOLS)),
    ...whenEqual(AF_INET6, protocols(INET_PROTOCOLS)),
    ...whenEqual(AF_NETLINK, protocols(netlink)),
    ...refuse(EAFNOSUPPORT),
  ];
}

/** A pair that is connected for good. One of datagrams could be pointed at a path later. */
function socketpair({ allowUnix }: FilterOptions): Instruction[] {
  return [
    ...load(FIELD.argument(0)),
    ...whenEqual(
      AF_UNIX,
      allowUnix
        ? answer(ALLOW)
        : [
            ...load(FIELD.argument(1)),
            ...mask(SOCK_TYPE),
            ...whenEqual(SOCK_STREAM, answer(ALLOW)),
            ...whenEqual(SOCK_SEQPACKET, answer(ALLOW)),
            ...refuse(EPROTONOSUPPORT),
          ],
    ),
    ...refuse(EAFNOSUPPORT),
  ];
}
