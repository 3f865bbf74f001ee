import { createHash, timingSafeEqual } from 'node:crypto';
import { sendJson, sendProblem } from './response.ts';
import type { Handler } from './webhook.ts';

/**
 * Answers the question Oura asks when a subscription is made or renewed:
 * `GET ?verification_token=<ours>&challenge=<random>` → `{"challenge":"<the same>"}`. Nothing is appended.
 * @param token - OURA_VERIFICATION_TOKEN; without one nobody gets an answer.
 */
export function ouraChallenge(token: string | undefined): Handler {
  return (request, response) => {
    if (token === undefined || token === '')
      return sendProblem(request, response, 'no_token', { retryAfterS: 60 });
    // Only the first question mark begins the query; a challenge may hold others.
    const query = new URLSearchParams(/\?(.*)/s.exec(request.url ?? '')?.[1] ?? '');
    const [given, ...moreTokens] = query.getAll('verification_token');
    const [challenge, ...moreChallenges] = query.getAll('challenge');
    if (given === undefined || moreTokens.length > 0 || moreChallenges.length > 0) {
      return sendProblem(request, response, 'bad_challenge');
    }
    if (!equal(given, token)) return sendProblem(request, response, 'wrong_token');
    if (challenge === undefined || challenge === '') return sendProblem(request, response, 'bad_challenge');
    sendJson(request, response, 200, { challenge });
  };
}

// Hashed first, because the comparison takes equal lengths only and must not tell the length either.
function equal(a: string, b: string): boolean {
  const hash = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(hash(a), hash(b));
}
