import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { pipelineCases } from './pipeline-cases.ts';
import { driverPrefix, lines, runInDriver } from './pipeline.ts';

describe('a topology in the test driver', () => {
  for (const pipeline of pipelineCases) {
    test(pipeline.title, async () => {
      assert.deepEqual(lines(await runInDriver(pipeline), driverPrefix), pipeline.expected);
    });
  }
});
