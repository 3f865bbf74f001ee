import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Admin } from '../../kafka/client.ts';
import { checkTopics, TopicError } from '../../kafka/topics.ts';

/** The part of an admin client that a check asks, over topics by their partition counts. */
function cluster(counts: Readonly<Record<string, number>>): Admin {
  return {
    listTopics: () => Promise.resolve(Object.keys(counts)),
    fetchTopicMetadata: ({ topics }: { topics: string[] }) =>
      Promise.resolve({
        topics: topics.map((name) => ({ name, partitions: Array.from({ length: counts[name] ?? 0 }) })),
      }),
  } as unknown as Admin;
}

async function codeOf(counts: Readonly<Record<string, number>>): Promise<string> {
  try {
    await checkTopics(cluster(counts), ['a', 'b'], 4);
    return 'none';
  } catch (error) {
    assert.ok(error instanceof TopicError);
    return error.code;
  }
}

test('topics that exist with the right count pass', async () => {
  assert.equal(await codeOf({ a: 4, b: 4, other: 1 }), 'none');
});

test('a wrong partition count is told from a missing topic, which can still be created', async () => {
  assert.equal(await codeOf({ a: 4, b: 3 }), 'WRONG_PARTITION_COUNT');
  assert.equal(await codeOf({ a: 4 }), 'MISSING_TOPIC');
  assert.equal(await codeOf({ b: 3 }), 'MISSING_TOPIC');
  assert.equal(await codeOf({}), 'MISSING_TOPIC');
});

test('every fault is named at once', async () => {
  await assert.rejects(
    checkTopics(cluster({ b: 3 }), ['a', 'b'], 4),
    /a does not exist, b has 3 partitions; create missing ones with `bridge topics`/,
  );
});
