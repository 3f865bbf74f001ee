import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { pipelineCases } from '../pipeline-cases.ts';
import { lines, partitions } from '../pipeline.ts';
import { Cluster } from './cluster.ts';

describe('the same topology on a real broker', { timeout: 120_000 }, () => {
  for (const pipeline of pipelineCases) {
    test(pipeline.title, async (t) => {
      const cluster = await Cluster.open(t);
      const { prefix } = cluster;
      const inputs = await cluster.createTopics(pipeline.inputTopics, { partitions });
      const outputs = await cluster.createTopics([...pipeline.outputTopics, 'dlq'], { partitions });
      await cluster.append(pipeline.inputs.map((input) => ({ ...input, topic: prefix + input.topic })));
      const topology = pipeline.topology((topic) => prefix + topic);
      const { streams, entries } = await cluster.start(topology, { deadLetterTopic: `${prefix}dlq` });
      await cluster.drained(inputs);
      await streams.close();
      assert.deepEqual(lines(await cluster.read(outputs), prefix), pipeline.expected);
      assert.deepEqual(
        entries.filter(({ level }) => level === 'error'),
        [],
      );
    });
  }
});
