import type { Differences } from '../topology/promotion.ts';
import type { Status } from './status.ts';

/** The status as people read it. */
export function statusText(status: Status): string {
  const { live, since, closing, corrections, candidate } = status;
  const lines = [`live        generation ${live}${since === null ? '' : `, since ${instant(since)}`}`];
  if (closing !== null)
    lines.push(
      `closing     a promotion of generation ${closing} has begun: nobody publishes until \`bridge replay promote ${closing}\` has gone on, or \`bridge replay promote ${closing} --abort\` has given it up`,
    );
  if (corrections !== null) {
    const { changed, added, removed, unreadable, done, taken_over, tasks } = corrections;
    if (taken_over < tasks)
      lines.push(`takeover    ${taken_over} of ${tasks} tasks have taken over what readers were told`);
    lines.push(
      `corrections ${changed} changed, ${added} added, ${removed} removed, ${unreadable} unreadable and left; ${done ? 'done' : 'under way'}`,
    );
  }
  if (candidate === null)
    lines.push(`candidate   none: run \`GENERATION=${live + 1} bridge topics\`, then its instances`);
  else {
    const { generation, instances, seeded_tasks, tasks, lag, build, unseeded, from } = candidate;
    const origin = unseeded
      ? ' (without the live state: corrects nothing)'
      : from === null
        ? ''
        : ` (with the state of generation ${from}, to go back to it)`;
    lines.push(
      `candidate   generation ${generation}${build === '' ? '' : `, build ${build}`}; ${instances} instance${instances === 1 ? '' : 's'}`,
      `            ${seeded_tasks} of ${tasks} tasks seeded${origin}; ${lag} records behind`,
      ...differenceLines(candidate.differences),
    );
  }
  for (const { generation, overdue } of status.to_discard)
    lines.push(
      `to discard  generation ${generation}${overdue ? ', since more than 7 days' : ''}: \`bridge replay discard ${generation}\``,
    );
  return `${lines.join('\n')}\n`;
}

function differenceLines(differences: Differences | null): string[] {
  if (differences === null)
    return [
      '            this build cannot read what the live generation has told readers: it compares nothing, and corrects nothing of that',
    ];
  const { changed, added, removed, same, before_start } = differences;
  const lines = [
    `            differs from what readers were told in ${changed + added + removed} resources: ${changed} changed, ${added} added, ${removed} removed; ${same} the same`,
  ];
  if (before_start > 0)
    lines.push(`            ${before_start} differ, but their records are too old to be computed again`);
  return lines;
}

function instant(epochMs: number): string {
  return new Date(epochMs).toISOString().replace(/\.\d+Z$/, 'Z');
}
