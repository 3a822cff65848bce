/** Tells the story, a beat at a time: what is shown, and then what came of it. */
export class Narrator {
  #beat = 0;

  title(text: string): void {
    line("");
    line(bold(text));
  }

  /** Opens a beat: the question that it answers. */
  beat(text: string): void {
    line("");
    line(`${bold(`${++this.#beat}.`)} ${bold(text)}`);
  }

  /** Something that came true. */
  shows(text: string): void {
    line(`   ${green("✓")} ${text}`);
  }

  /** What somebody does. */
  does(text: string): void {
    line(`   ${dim("›")} ${text}`);
  }

  note(text: string): void {
    for (const part of text.split("\n")) line(`     ${dim(part)}`);
  }

  plain(text: string): void {
    line(text);
  }
}

const colour = process.stdout.isTTY && process.env.NO_COLOR === undefined;
const paint = (code: number) => (text: string) => (colour ? `\x1b[${code}m${text}\x1b[0m` : text);
const bold = paint(1);
const dim = paint(2);
const green = paint(32);

const line = (text: string): void => void process.stdout.write(`${text}\n`);
