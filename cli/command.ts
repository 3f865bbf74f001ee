import { Command as Commander, CommanderError, type ErrorOptions, type Help } from 'commander';
import { ConfigError, is, type Variable } from '../process/config.ts';
import { exitCode, Interrupted, RefusedCommand } from '../replay/exit.ts';

/** A variable as help shows it. */
type Described = Pick<Variable<unknown>, 'description' | 'default'> & Partial<Variable<unknown>>;

const fromLocalStack =
  'Unset variables come from .local/env, which `bridge local up` writes. For each, <NAME>_FILE may name a file that holds the value.';

/** A command of `bridge` or a subcommand (`bridge local up`); all share one style of help, faults and exit codes. */
export class Command extends Commander {
  override createCommand(name?: string): Command {
    return new Command(name).helpCommand(false);
  }

  override createHelp(): Help {
    return Object.assign(super.createHelp(), { commandUsage: usageOf });
  }

  /**
   * Runs `work` with the arguments, then the options; it returns the exit code. Its errors are printed after the name of
   * the command: InvalidArgumentError with the usage and exit code 2, ConfigError with exit code 2, RefusedCommand with 4,
   * Interrupted with 130, any other with 1.
   */
  does(work: (...args: never[]) => Promise<number> | number): this {
    return this.action(async (...args: unknown[]) => {
      try {
        process.exitCode = await work(...(args as never[]));
      } catch (error) {
        if (error instanceof CommanderError) this.error(error.message);
        const reason = error instanceof Error ? error.message : 'unknown failure';
        process.stderr.write(`${pathOf(this)}: ${reason}\n`);
        process.exitCode = exitCodeOf(error);
      }
    });
  }

  #hasEnvironment = false;

  /** Adds the section `Environment:` to the help of this command and of its subcommands that have none of their own. */
  environment(table: Readonly<Record<string, Described>>, note = fromLocalStack): this {
    this.#hasEnvironment = true;
    return this.addHelpText('afterAll', ({ command }) => {
      if (command !== this && command instanceof Command && command.#hasEnvironment) return '';
      const help = this.createHelp();
      const helpWidth = this.configureOutput().getOutHelpWidth?.() ?? 80;
      help.prepareContext({ helpWidth });
      const nameWidth = Math.max(...Object.keys(table).map((name) => name.length));
      const rows = Object.entries(table).map(([name, variable]) =>
        help.formatItem(name, nameWidth, `${variable.description}${defaultOf(variable)}`, help),
      );
      const indented = help.boxWrap(note, helpWidth - 2).replaceAll(/^/gm, '  ');
      return ['\nEnvironment:', ...rows, indented].join('\n');
    });
  }

  /** Prints a usage fault; commander calls it for each of them. */
  override error(message: string, options?: ErrorOptions): never {
    const command = topOf(this);
    const text = message.replace(/^error: /, '').replaceAll('\n', ' ');
    const fault = this.#fault(text, options?.code);
    return super.error(
      `${pathOf(this)}: ${fault}\n\nUsage: ${usageOf(command)}\n\nSee ${pathOf(command)} --help.`,
      options,
    );
  }

  /** Replaces commander's text, which says only what is wrong, with what to do. */
  #fault(text: string, code: string | undefined): string {
    const names = this.registeredArguments.map((argument) => argument.name());
    if (code === 'commander.missingArgument' || code === 'commander.excessArguments')
      return names.length === 0 ? 'takes no arguments' : `name one ${names.join(' and one ')}`;
    if (code === 'commander.unknownOption' && this.options.length === 0 && names.length > 0)
      return `this command has no options; write -- before a ${names.join(' or ')} that begins with a dash`;
    if (code === 'commander.unknownCommand' && this.parent !== null)
      return `${text}; valid commands: ${this.commands.map((command) => command.name()).join(', ')}`;
    return text;
  }
}

function exitCodeOf(error: unknown): number {
  if (error instanceof ConfigError) return exitCode.usage;
  if (error instanceof RefusedCommand) return exitCode.refused;
  return error instanceof Interrupted ? exitCode.interrupted : exitCode.failed;
}

/** The full name of a command: `bridge local up`. */
function pathOf(command: Commander): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;
}

/** The command that `bridge --help` lists: `bridge local` for `bridge local up`. */
function topOf(command: Commander): Commander {
  return command.parent === null || command.parent.parent === null ? command : topOf(command.parent);
}

/** One line per subcommand, with all options: `bridge local up [--brokers <count>]`. */
function usageOf(command: Commander): string {
  if (command.parent === null) return `${command.name()} ${command.usage()}`;
  if (command.commands.length > 0) return command.commands.map(usageOf).join('\n       ');
  const options = command.options.map(({ flags }) => `[${flags}]`);
  return wrapped(
    [pathOf(command), command.usage().replace(/^\[options\] ?/, ''), ...options].filter(
      (part) => part !== '',
    ),
  );
}

/** Columns behind `Usage: `, and what continues a line. */
const usageWidth = 80 - 'Usage: '.length;
const continued = ' '.repeat('Usage: '.length + 4);

/** Parts of a usage in lines that fit a terminal. */
function wrapped(parts: readonly string[]): string {
  const lines: string[] = [];
  for (const part of parts) {
    const last = lines.at(-1);
    if (last !== undefined && last.trim().length + 1 + part.length <= usageWidth - 4)
      lines[lines.length - 1] = `${last} ${part}`;
    else lines.push(last === undefined ? part : `${continued}${part}`);
  }
  return lines.join('\n');
}

function defaultOf(variable: Described): string {
  if (!('default' in variable)) return ' (required)';
  const { default: value, schema } = variable;
  if (schema === is.onOff) return ` (default: ${value === true ? 'on' : 'off'})`;
  const unset = value === '' || (Array.isArray(value) && value.length === 0);
  // A function returns another value at every start.
  if (value === undefined || typeof value === 'function' || unset) return '';
  return ` (default: ${typeof value === 'string' ? value : JSON.stringify(value)})`;
}
