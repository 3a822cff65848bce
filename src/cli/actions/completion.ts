/** A command as completion sees it. */
export interface Branch {
  readonly name: string;
  readonly summary: string;
  /** Long flags, `--name`. */
  readonly flags: readonly string[];
  readonly branches: readonly Branch[];
}

export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

/** A script for `source`, from the commands as they are. */
export function completionScript(shell: Shell, root: Branch): string {
  switch (shell) {
    case "bash":
      return bash(root);
    case "zsh":
      return `autoload -U +X bashcompinit && bashcompinit\n${bash(root)}`;
    case "fish":
      return fish(root);
  }
}

/** Every command with the words that lead to it, the deeper ones first. */
function places(branch: Branch, path: readonly string[] = []): [readonly string[], Branch][] {
  const inner = branch.branches.flatMap((b) => places(b, [...path, b.name]));
  return [...inner, [path, branch]];
}

const words = ({ branches, flags }: Branch): string =>
  [...branches.map((b) => b.name), ...flags].join(" ");

function bash(root: Branch): string {
  const cases = places(root).map(
    ([path, branch]) => `    "${path.map((p) => ` ${p}`).join("")}"*) words="${words(branch)}" ;;`,
  );
  return `# dragons: source <(dragons completion bash)
_dragons() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" path="" words="" word
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$word" in -*) ;; *) path+=" $word" ;; esac
  done
  case "$path" in
${cases.join("\n")}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _dragons dragons
`;
}

function fish(root: Branch): string {
  const lines = places(root).flatMap(([path, { branches, flags }]) => {
    const within = path.map((p) => `__fish_seen_subcommand_from ${p}`);
    const names = branches.map((b) => b.name).join(" ");
    const not = names === "" ? [] : [`not __fish_seen_subcommand_from ${names}`];
    const when = (conditions: readonly string[]) =>
      conditions.length === 0 ? "" : ` -n "${conditions.join("; and ")}"`;
    return [
      ...branches.map(
        (b) => `complete -c dragons${when([...within, ...not])} -f -a ${b.name} -d "${b.summary}"`,
      ),
      ...flags.map((f) => `complete -c dragons${when(within)} -l ${f.slice(2)}`),
    ];
  });
  return `# dragons: dragons completion fish | source\n${lines.join("\n")}\n`;
}
