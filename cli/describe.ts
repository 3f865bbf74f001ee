import { Option } from 'commander';
import { biometrics } from '../topology/biometrics.ts';
import { describe as describeTopology, writeOnly } from '../streams/index.ts';
import { topicNames } from '../schemas/topics.ts';
import { kafkaVariables } from '../process/config.ts';
import { defaultRules } from '../topology/triggers.ts';
import type { Command } from './command.ts';
import { configured } from './environment.ts';
import { vendorNames } from '../vendors/index.ts';

const formats = ['text', 'mermaid', 'json'] as const;
const variables = { TOPIC_PREFIX: kafkaVariables.TOPIC_PREFIX };

/** `bridge describe`. */
export function define(command: Command): void {
  command
    .description(
      'Print the operators, their order and the topics they read and write. Needs no running stack.',
    )
    .addOption(new Option('--format <format>', 'output format').choices(formats).default('text'))
    .environment(variables)
    .does(({ format }: { format: (typeof formats)[number] }) => {
      const topology = biometrics({
        topics: topicNames(configured(variables).TOPIC_PREFIX, vendorNames),
        rules: defaultRules,
        biometricEvent: writeOnly(() => null),
        build: '',
      });
      process.stdout.write(describeTopology(topology, format));
      return 0;
    });
}
