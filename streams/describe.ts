import type { Topology } from './topology.ts';

/**
 * The topology as text in the form of Kafka Streams, as a Mermaid flowchart, or as JSON: `{ nodes, stores }`, with the
 * operators in the order in which they were added. Ends with a newline.
 */
export function describe(topology: Topology, format: 'text' | 'mermaid' | 'json'): string {
  const description = descriptionOf(topology);
  if (format === 'json') return `${JSON.stringify(description, null, 2)}\n`;
  return format === 'mermaid' ? mermaid(description) : text(description);
}

type TopologyDescription = ReturnType<typeof descriptionOf>;

function descriptionOf(topology: Topology) {
  const nodes = [...topology.nodes.values()];
  return {
    nodes: nodes.map((node) => ({
      name: node.name,
      type: node.type,
      topics: node.type === 'source' || node.type === 'sink' ? node.topics : [],
      stores: node.type === 'processValues' ? node.stores : [],
      predecessors: nodes.filter(({ next }) => next.includes(node.name)).map(({ name }) => name),
      successors: node.next,
    })),
    stores: topology.stores.map(({ name, retentionMs, sweepAfterMs }) => ({
      name,
      retentionMs: retentionMs ?? null,
      sweepAfterMs: sweepAfterMs ?? null,
    })),
  };
}

function text({ nodes }: TopologyDescription): string {
  const lines = ['Topologies:', '   Sub-topology: 0'];
  for (const { name, type, topics, stores, predecessors, successors } of nodes) {
    if (type === 'source') lines.push(`    Source: ${name} (topics: [${topics.join(', ')}])`);
    else if (type === 'sink') lines.push(`    Sink: ${name} (topics: [${topics.join(', ')}])`);
    else lines.push(`    Processor: ${name} (${type}, stores: [${stores.join(', ')}])`);
    if (type !== 'sink') lines.push(`      --> ${successors.join(', ')}`);
    if (type !== 'source') lines.push(`      <-- ${predecessors.join(', ')}`);
  }
  return `${lines.join('\n')}\n`;
}

function mermaid({ nodes, stores }: TopologyDescription): string {
  const id = (name: string): string => name.replace(/[^A-Za-z0-9]/g, '_');
  const lines = ['flowchart LR'];
  for (const { name, type, topics, successors } of nodes) {
    lines.push(
      `  ${id(name)}["${name}${type === 'source' || type === 'sink' ? '' : `<br/><i>${type}</i>`}"]`,
    );
    for (const topic of topics) {
      const topicId = `topic_${id(topic)}`;
      lines.push(`  ${topicId}[("${topic}")]`);
      lines.push(type === 'source' ? `  ${topicId} --> ${id(name)}` : `  ${id(name)} --> ${topicId}`);
    }
    for (const successor of successors) lines.push(`  ${id(name)} --> ${id(successor)}`);
  }
  for (const { name } of stores) {
    lines.push(`  store_${id(name)}[/"${name}"/]`);
    for (const user of nodes.filter((node) => node.stores.includes(name)))
      lines.push(`  ${id(user.name)} -.- store_${id(name)}`);
  }
  return `${lines.join('\n')}\n`;
}
