import { biometrics } from '../topology/biometrics.ts';
import { describe as describeTopology, writeOnly } from '../streams/index.ts';
import { topicNames } from '../schemas/topics.ts';
import { defaultRules } from '../topology/triggers.ts';
import { UsageError, type Command } from './command.ts';
import { withLocalEnv } from '../local/env.ts';
import { vendorNames } from '../vendors/index.ts';

const formats = ['text', 'mermaid', 'json'] as const;

export const describe: Command = {
  summary: 'show the topology as text, Mermaid or JSON',
  usage: `
Usage: bridge describe [--format text|mermaid|json]

Prints the operators, their order and the topics they read and write. Needs no running stack.
`,
  run(args) {
    const [flag, value = 'text', ...rest] = args.length === 0 ? ['--format'] : args;
    const format = formats.find((name) => name === value);
    if (flag !== '--format' || format === undefined || rest.length > 0) {
      throw new UsageError('takes only --format text, --format mermaid or --format json');
    }
    const topology = biometrics({
      topics: topicNames(withLocalEnv(process.env)['TOPIC_PREFIX'] ?? '', vendorNames),
      rules: defaultRules,
      biometricEvent: writeOnly(() => null),
      build: '',
    });
    process.stdout.write(describeTopology(topology, format));
    return Promise.resolve(0);
  },
};
