import type { Admin } from '../../kafka/client.ts';
import type { TopicNames } from '../../schemas/topics.ts';
import type { VendorName } from '../../vendors/index.ts';

/** How many raw records the committed offsets of a group cover, in topics that begin at offset 0 and hold no markers. */
export async function committedRecords(
  admin: Admin,
  groupId: string,
  { raw }: TopicNames<VendorName>,
): Promise<number> {
  const topics = await admin.fetchOffsets({ groupId, topics: Object.values(raw) });
  const offsets = topics.flatMap(({ partitions }) => partitions.map(({ offset }) => Number(offset)));
  return offsets.reduce((sum, offset) => sum + Math.max(0, offset), 0);
}
