import { createHash, timingSafeEqual } from 'node:crypto';
import { sendJson, sendProblem } from './response.ts';
import type { Handler } from './webhook.ts';

/**
 * Answers the challenge that Oura sends when a subscription is created or renewed:
 * `GET ?verification_token=<ours>&challenge=<random>` → `{"challenge":"<the same>"}`. Nothing is appended.
 * @param token - OURA_VERIFICATION_TOKEN; without it every challenge is refused with 503.
 */
export function ouraChallenge(token: string | undefined): Handler {
  return (request, response) => {
    if (token === undefined || token === '')
      return sendProblem(request, response, 'no_token', { retryAfterS: 60 });
    // Only the first question mark starts the query; a challenge may contain others.
    const query = new URLSearchParams(/\?(.*)/s.exec(request.url ?? '')?.[1] ?? '');
    const [sent, ...moreTokens] = query.getAll('verification_token');
    const [challenge, ...moreChallenges] = query.getAll('challenge');
    if (sent === undefined || moreTokens.length > 0 || moreChallenges.length > 0) {
      return sendProblem(request, response, 'bad_challenge');
    }
    if (!equal(sent, token)) return sendProblem(request, response, 'wrong_token');
    if (challenge === undefined || challenge === '') return sendProblem(request, response, 'bad_challenge');
    sendJson(request, response, 200, { challenge });
  };
}

// Hash first: timingSafeEqual takes equal lengths only, and the length must not leak either.
function equal(a: string, b: string): boolean {
  const hash = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(hash(a), hash(b));
}
